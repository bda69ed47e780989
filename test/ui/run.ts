// Runs the UI tests, or those of the files named: Mocha over test/ui, against the packaged extension of the sources as
// they are.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { builtVsix } from '../../scripts/built-vsix.ts';
import { node24, projectRoot } from '../../scripts/project.ts';
import { vscodeFolder } from '../../scripts/vscode-cache.ts';

await builtVsix();
await vscodeFolder();
const named = process.argv.slice(2);
const files = named.length > 0 ? named : ['test/ui/**/*.test.ts'];
const mocha = join(projectRoot, 'node_modules/mocha/bin/mocha.js');
const { status } = spawnSync(
  node24(),
  [
    mocha,
    '--config',
    'test/.mocharc.json',
    '--timeout',
    '120000',
    ...(process.env.BAIL ? ['--bail'] : []),
    '--reporter',
    'spec',
    ...files,
  ],
  { cwd: projectRoot, stdio: 'inherit' },
);
process.exitCode = status ?? 1;
