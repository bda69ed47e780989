// The conditions a developer may put on the network, as they are offered and as they are described. Must not import `vscode`.
import type { NetworkConditions } from '../../protocol/sync-state.ts';

export interface OfferedConditions {
  readonly label: string;
  readonly detail: string;
  /** Null: as it is. */
  readonly conditions: NetworkConditions | null;
}

export const OFFERED: readonly OfferedConditions[] = [
  { label: 'Good Network', detail: 'Nothing is disturbed.', conditions: null },
  { label: 'Slow', detail: 'Every request takes 500 ms longer.', conditions: { latencyMs: 500 } },
  {
    label: 'Lossy Requests',
    detail: 'Every third request does not reach the server.',
    conditions: { lostRequests: 0.33 },
  },
  {
    label: 'Lossy Answers',
    detail: 'The server does its work, and every third answer is lost on the way back.',
    conditions: { lostAnswers: 0.33 },
  },
  {
    label: 'Server Errors',
    detail: 'Half of the requests are answered with 503, Service Unavailable.',
    conditions: { errorStatus: 503, errors: 0.5 },
  },
  {
    label: 'Sign-In Expired',
    detail: 'Every request is answered with 401, Unauthorized.',
    conditions: { errorStatus: 401, errors: 1 },
  },
  {
    label: 'Server Was Reset',
    detail: 'Every request is answered with 409, Conflict: the server has another history.',
    conditions: { errorStatus: 409, errorCode: 'EPOCH_CHANGED', errors: 1 },
  },
  { label: 'Nothing Goes Through', detail: 'As if the cable were pulled.', conditions: { stopped: true } },
];

export function describeConditions(conditions: NetworkConditions): string {
  const { latencyMs = 0, lostRequests = 0, lostAnswers = 0, errorStatus, errors = 0, stopped = false } = conditions;
  if (stopped) return 'nothing goes through';
  const parts = [
    ...(latencyMs > 0 ? [`${latencyMs.toLocaleString()} ms more for each request`] : []),
    ...(lostRequests > 0 ? [`${percent(lostRequests)} of requests lost`] : []),
    ...(lostAnswers > 0 ? [`${percent(lostAnswers)} of answers lost`] : []),
    ...(errorStatus !== undefined && errors > 0 ? [`${percent(errors)} answered with ${errorStatus}`] : []),
  ];
  return parts.length === 0 ? 'nothing is disturbed' : parts.join(', ');
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
