// Bundles the suite and runs it inside real VS Code through @vscode/test-electron: in the desktop VS Code that
// VSCODE_EXECUTABLE names, else in the one that is built from npm. `-- -g WORDS` runs the tests whose titles have the words.
import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runTests } from '@vscode/test-electron';
import { build } from 'esbuild';
import { SECRET, signToken, startForTest } from '../support/server.ts';

const { values } = parseArgs({ options: { grep: { type: 'string', short: 'g' } } });
const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

await build({
  entryPoints: [path('test/vscode/suite.ts')],
  outfile: path('dist/test/suite.cjs'),
  bundle: true,
  platform: 'node',
  format: 'cjs',
  external: ['vscode', 'mocha'],
  sourcemap: 'inline',
  logLevel: 'warning',
});
// The suite is one bundle inside VS Code, which cannot hold a second Postgres: the server runs here.
let server = await startForTest({ memory: true });
/** It has spaces of the same names, and knows nothing of the first. */
const anotherServer = await startForTest({ memory: true });
const { port } = new URL(server.url);
/** Asked by a test to lose all that it has, as a server whose data directory was wiped between two starts. */
const resets = createServer((_, response) => {
  void resetServer().then(() => response.end());
});
resets.listen(0, '127.0.0.1');
await once(resets, 'listening');
const forged = { space: 'team', secret: 'another secret that has more than 32 characters' };
try {
  await runTests({
    extensionTestsEnv: {
      LOCAL_DATA_TEST_GREP: values.grep,
      LOCAL_DATA_TEST_SERVER: server.url,
      LOCAL_DATA_TEST_OTHER_SERVER: anotherServer.url,
      LOCAL_DATA_TEST_RESET: addressOf(resets),
      LOCAL_DATA_TEST_TOKEN: await signToken({ space: 'team', secret: SECRET }),
      LOCAL_DATA_TEST_OTHER_TOKEN: await signToken({ space: 'elsewhere', secret: SECRET }),
      LOCAL_DATA_TEST_FORGED_TOKEN: await signToken(forged),
    },
    vscodeExecutablePath: process.env['VSCODE_EXECUTABLE'] ?? path('scripts/vscode-for-tests.ts'),
    extensionDevelopmentPath: [
      path('.'),
      path('test/fixtures/example-extension'),
      path('test/fixtures/example-transport'),
    ],
    extensionTestsPath: path('dist/test/suite.cjs'),
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  resets.close();
  await server.close();
  await anotherServer.close();
}

async function resetServer(): Promise<void> {
  await server.close();
  server = await startForTest({ memory: true, port: Number(port) });
}

function addressOf(listening: Server): string {
  const address = listening.address();
  if (address === null || typeof address === 'string') throw new Error('The server of resets does not listen.');
  return `http://127.0.0.1:${address.port}`;
}
