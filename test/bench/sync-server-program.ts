// The built server as a process of its own, for benchmarks: on the Postgres whose url is given, at the given port (0 for
// any). Says its address, and ends when it is told to.
import { pathToFileURL } from 'node:url';
import { built } from './built-engine.ts';

type ServerModule = typeof import('../../src/server/start-server.ts');

const [databaseUrl = '', secret = '', port = '0'] = process.argv.slice(2);
const { startServer } = (await import(pathToFileURL(built('server.js')).href)) as ServerModule;
// One client is measured at a time, as fast as it can: what a server allows each is not what is measured.
const limits = { requestsPerSecond: 100_000, requestsAtOnce: 100_000 };
const server = await startServer({ databaseUrl, secret, port: Number(port), limits });
process.once('SIGTERM', () => void server.close().then(() => process.exit(0)));
console.log(server.url);
