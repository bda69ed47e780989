// A developer's tool: disturbs the requests to the server, so that what happens then can be watched. Off again with the next
// start of the engine.
import * as vscode from 'vscode';
import type { NetworkConditions } from '../../protocol/sync-state.ts';
import { ask, pick } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { OFFERED, describeConditions } from '../sync/conditions.ts';
import { requireServer } from '../sync/require-server.ts';

const TITLE = 'Network Conditions';

export const networkConditions = defineCommand('localData.sync.networkConditions', async (host) => {
  const { networkConditions: current } = requireServer(host);
  const custom = {
    label: 'Custom…',
    detail: 'Latency, losses and errors, one after the other.',
    conditions: undefined,
  };
  const chosen = await pick(
    [...OFFERED, custom],
    TITLE,
    current === null ? 'What should happen to requests on their way?' : `Now: ${describeConditions(current)}`,
  );
  const conditions = chosen.conditions === undefined ? await askConditions() : chosen.conditions;
  await host.database.require().sync.setNetworkConditions(conditions);
  const described = conditions === null ? 'Nothing is disturbed' : describeConditions(conditions);
  vscode.window.setStatusBarMessage(`$(beaker) ${described}`, 5_000);
});

async function askConditions(): Promise<NetworkConditions> {
  const latencyMs = await askNumber('Milliseconds that each request takes longer', 60_000);
  const lostRequests = await askNumber('Percent of requests that do not reach the server', 100);
  const lostAnswers = await askNumber('Percent of answers that are lost after the server did its work', 100);
  const errors = await askNumber('Percent of requests that are answered with an error', 100);
  const errorStatus = errors === 0 ? 503 : await askNumber('HTTP status of those errors', 599, 400);
  return {
    latencyMs,
    lostRequests: lostRequests / 100,
    lostAnswers: lostAnswers / 100,
    ...(errors === 0 ? {} : { errors: errors / 100, errorStatus }),
  };
}

async function askNumber(prompt: string, highest: number, lowest = 0): Promise<number> {
  const typed = await ask({
    title: TITLE,
    prompt,
    value: String(lowest === 0 ? 0 : 503),
    validateInput: (text) => {
      const value = Number(text);
      const fits = text.trim() !== '' && Number.isInteger(value) && value >= lowest && value <= highest;
      return fits ? undefined : `Type a whole number from ${lowest} to ${highest.toLocaleString()}.`;
    },
  });
  return Number(typed);
}
