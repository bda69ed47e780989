// `npm test`: every check and every suite, one after another, with each one's count and a last line `N passed, N failed`.
// A check counts as one; nothing is left out without a line that says so.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

interface Outcome {
  readonly passed: number;
  readonly failed: number;
}

interface Suite {
  readonly name: string;
  readonly command: readonly string[];
  readonly counts: 'mocha' | 'exit code';
}

const mocha = (folder: string): Suite => ({
  name: folder,
  command: [bin('mocha'), '--config', 'test/.mocharc.json', `test/${folder}/**/*.test.ts`],
  counts: 'mocha',
});

const suites: readonly Suite[] = [
  { name: 'format', command: [bin('prettier'), '--check', '--log-level', 'warn', '.'], counts: 'exit code' },
  { name: 'build and types', command: [process.execPath, 'esbuild.mjs'], counts: 'exit code' },
  { name: 'types of tests and scripts', command: [bin('tsc'), '-p', 'test/tsconfig.json'], counts: 'exit code' },
  { name: 'lint', command: [bin('oxlint'), '--type-aware', '--deny-warnings'], counts: 'exit code' },
  { name: 'import directions', command: [process.execPath, 'scripts/check-imports.ts'], counts: 'exit code' },
  {
    name: 'manifest drift',
    command: [process.execPath, 'scripts/generate-contributions.ts', '--check'],
    counts: 'exit code',
  },
  {
    name: 'openapi drift',
    command: [process.execPath, 'scripts/generate-openapi.ts', '--check'],
    counts: 'exit code',
  },
  { name: 'unused code', command: [bin('knip')], counts: 'exit code' },
  ...['unit', 'engine', 'sync', 'worker', 'contract', 'server', 'simulation'].map(mocha),
  { name: 'inside VS Code', command: [process.execPath, 'test/vscode/run.ts'], counts: 'mocha' },
  { name: 'ui', command: [process.execPath, 'test/ui/run.ts'], counts: 'mocha' },
];

await assertNode24();
const chosen = process.argv.slice(2);
const total = { passed: 0, failed: 0 };
for (const suite of suites) {
  if (chosen.length > 0 && !chosen.some((word) => suite.name.includes(word))) continue;
  if (!isThere(suite)) continue;
  const started = Date.now();
  console.log(`\n=== ${suite.name}`);
  const outcome = await runSuite(suite);
  total.passed += outcome.passed;
  total.failed += outcome.failed;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`=== ${suite.name}: ${outcome.passed} passed, ${outcome.failed} failed (${seconds} s)`);
}
console.log(`\n${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

function isThere(suite: Suite): boolean {
  const folder = join(root, 'test', suite.name);
  if (suite.command[0] !== bin('mocha')) return true;
  return existsSync(folder) && readdirSync(folder).some((file) => file.endsWith('.test.ts'));
}

/** Mocha's own closing lines count its tests; a run that dies without them is one failure. */
async function runSuite(suite: Suite): Promise<Outcome> {
  const { code, output } = await runAndShow(suite.command);
  if (suite.counts === 'exit code') return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  const passed = sumOf(output, /^\s*(\d+) passing\b/gm);
  const failed = sumOf(output, /^\s*(\d+) failing\b/gm);
  const diedUnsaid = code !== 0 && failed === 0;
  return { passed, failed: failed + (diedUnsaid || passed + failed === 0 ? 1 : 0) };
}

function sumOf(output: string, pattern: RegExp): number {
  // oxlint-disable-next-line no-control-regex -- colours stand between a line's start and its number
  const plain = output.replace(/\u001b\[[0-9;]*m/g, '');
  return [...plain.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
}

function runAndShow([command = '', ...args]: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const show = (chunk: Buffer): void => {
      output += chunk.toString();
      process.stdout.write(chunk);
    };
    child.stdout.on('data', show);
    child.stderr.on('data', show);
    child.on('error', (error) => resolve({ code: 1, output: `${output}\n${error.message}` }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

async function assertNode24(): Promise<void> {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 24) return;
  console.error(
    `Node ${process.versions.node} runs this script; it needs Node 24 from node_modules. Run it through npm, after npm ci.`,
  );
  process.exit(1);
}
