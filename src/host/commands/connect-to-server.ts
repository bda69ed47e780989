// Connects this database to a server's space: asks for the address and the token, and where the server is another than the
// database knows, for what is to become of it.
import * as vscode from 'vscode';
import { ask } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { connectOrDecide } from '../sync/connect-or-decide.ts';
import type { Host } from '../host.ts';

const TITLE = 'Connect to Server';

export const connectToServer = defineCommand('localData.sync.connect', async (host, given) => {
  host.database.require();
  const url = given?.url ?? (await askAddress(host));
  await confirmInTheClear(url);
  const token = given?.token ?? (await askToken(`Token for ${url}, as its owner gave it to you`));
  await connectOrDecide(host, { url, token });
});

/** Loaded with the first question, not with the extension. */
const load = () => import('../../engine/connect-arguments.ts');

async function askAddress(host: Host): Promise<string> {
  const { checkServerAddress } = await load();
  const checkAddress = (typed: string) => checkedAddress(host, typed, checkServerAddress);
  const url = await ask({
    title: TITLE,
    prompt: 'Address of the server',
    placeHolder: 'https://sync.example.org',
    value: host.sync.lastAddress,
    validateInput: (typed) => problemOf(() => checkAddress(typed)),
  });
  return checkAddress(url);
}

/** http and https are the engine's own; any other scheme must have been registered by an extension. */
function checkedAddress(host: Host, typed: string, checkServerAddress: (url: string) => string): string {
  const url = typed.trim();
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  return scheme !== undefined && host.transports.get(scheme) !== undefined ? url : checkServerAddress(url);
}

export async function askToken(prompt: string): Promise<string> {
  const { checkToken } = await load();
  const token = await ask({
    title: TITLE,
    prompt,
    password: true,
    validateInput: (typed) => problemOf(() => checkToken(typed.trim())),
  });
  return token.trim();
}

function problemOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function confirmInTheClear(url: string): Promise<void> {
  const { protocol, hostname, host } = new URL(url);
  const isHere = hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
  if (protocol !== 'http:' || isHere) return;
  const answer = 'Connect in the Clear';
  const chosen = await vscode.window.showWarningMessage(
    `Connect to ${host} without encryption?`,
    {
      modal: true,
      detail: 'The address begins with http: and not https:. Whoever is on the way can read the token and all data.',
    },
    answer,
  );
  if (chosen !== answer) throw new vscode.CancellationError();
}
