// Opens a database in a bare Node and prints what that took, as one line of JSON. Run as a child, so that memory and
// warm caches of one measurement do not show in the next. Arguments: data directory, and `initdb` to do without template.
import { openBuilt } from './built-engine.ts';
import { pause } from './measure.ts';

const [dataDir = '', way = ''] = process.argv.slice(2);
const start = performance.now();
const data = await openBuilt({ dataDir, ...(way === 'initdb' ? { templateDir: null } : {}) });
const ms = performance.now() - start;
const { openedFrom } = await data.diagnostics();
// Memory is read when what the opening left behind had time to go.
await pause(1_000);
const rssMb = process.memoryUsage.rss() / 1024 / 1024;
await data.close();
console.log(JSON.stringify({ ms, rssMb, openedFrom }));
