// The page that keeps a run's figures, docs/performance.md: how each was measured, then the tables.
import { type Report, currentCommit, describeMachine, renderTable } from './report.ts';

export function performancePage(report: Report, isPutTogether: boolean): string {
  const { cpu, cores, memoryMb, system, node, load } = describeMachine();
  return `# Performance

\`npm run bench\` measures all of this on the built engine and prints it; \`-- --json FILE\` keeps the figures with their raw
samples, \`-- --only PART\` runs one part (open, writes, drain, seen, import, vscode, panel, sync, load), \`-- --with FILE\` takes over the figures of an earlier run, and
\`-- --markdown FILE\` writes this page up to "What bounds them".
A shared machine is noisy: trust ratios more than milliseconds.

Measured on ${cpu}, ${cores} cores, ${memoryMb} MB, ${system}, Node ${node}, commit ${currentCommit()}, with ${load}
processes wanting those cores at the end.${isPutTogether ? ' Put together from several runs.' : ''}

${renderTable(report)}

## How it is measured

Medians throughout, unless a name says p99. Everything runs on directories on disk, \`dist/engine.js\` in process and
\`dist/worker.js\` in a thread.

- **open**: each opening in a bare Node of its own, from the call of \`openLocalData\` until it resolves; memory is that
  process's RSS one second later, and \`open.rss_mb\` the larger of first open and reopen. The stall is the longest time for
  which a timer of 1 ms did not come on the main thread while a worker opened a new directory.
- **writes**: six ways of writing one row take turns in rounds of 200, so that noise falls on all. \`insert.bare\` is
  \`query()\` of PGlite inserting the same change into a table of the ten columns and three indexes and nothing else;
  \`insert.prepared\` is \`EXECUTE\` of a prepared statement doing so. \`record\` and \`upsert\` are the engine's calls, awaited
  one by one; \`record.while_processing\` has the processor applying at the same time.
- **drain**: from \`startChangeProcessor\` until \`whenIdle\`, with 10,000 or 100,000 changes recorded (of ten, five inserts, four
  updates, one delete). Row by row is a processor that applies and marks one change at a time, each statement its own
  commit, on the same changes without any of the engine's triggers.
- **seen**: from \`recordChange\` of a one-row update until a subscriber of the entities store sees it, on tables of four sizes
  that take turns; beside it \`live.query\` of PGlite on the whole table.
- **import**: 100,000 cities as CSV into a table through the worker, from the call until all are applied.
- **vscode**: in real VS Code driven by a browser, started anew for each round. Activation is what the extension says of
  itself in Copy Diagnostics; the tree is timed from the click on its icon until the rows of 100,000 pending changes show,
  which includes what the browser and its driver take.
- **panel**: tasks above 50 ms on the thread of the Entities panel, its own (\`longest_own_task\`) and all, VS Code's window among
  them, and the longest time between two frames, while an import of 10,000 rows goes through into the type that it shows.
- **sync**: the engine in a thread, the server in a process of its own, a real and durable Postgres, all on loopback and on the
  same cores. Push: 10,000 changes recorded offline, from going online until all are acknowledged, five rounds. Snapshot: 100,000
  entities into an empty database, with the stall of the main thread meanwhile. Seen: from the call on A until B's entities store
  tells. Recovery: the time from the server's return after 60 s until nothing waits.
- **load**: 100 spaces with ten waiting readers and two writers each, 500 changes a second for 60 s after five seconds of the same
  (\`load_cold_p99_ms\`), in which code, connections and statements are new. A delivery is timed from before the push until the
  reader has the change; each must come once and in order, or it is an error. The server's memory is that of its last ten
  seconds, and its growth that since the 20th to 30th second. What asks is a lean client of its own, on the same two cores.
`;
}
