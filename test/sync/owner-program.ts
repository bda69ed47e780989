// Run as a process of its own and killed: owns a data directory, works offline in it, and leaves changes that wait to be sent.
import { writeSync } from 'node:fs';
import { openLocalData } from '../support/engine.ts';
import { makeTaskTypes } from '../support/sync.ts';

const [dataDir = '', url = '', token = '', count = '0'] = process.argv.slice(2);

const data = await openLocalData({ dataDir });
await makeTaskTypes(data);
await data.sync.connect({ url, token });
await data.sync.whenSynced();
await data.sync.goOffline();
for (let n = 0; n < Number(count); n += 1) await data.upsertEntity('Task', `t${n}`, { title: `waits ${n}` });
writeSync(1, 'ready\n');
// Until it is killed.
setInterval(() => undefined, 60_000);
