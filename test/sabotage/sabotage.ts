// Proves that the tests would notice: puts one fault at a time into a copy of the built engine or server and runs the one test that
// must turn red. Fails when a fault survives, cannot be put in, or its test is not green without it. The build itself is
// never touched. Options: `--markdown FILE` keeps the table, `--only WORDS` takes the faults so
// named.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FAULTS, type Fault } from './faults.ts';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const DIST = join(REPOSITORY, 'dist');
/** A fault may keep the engine busy for good; a test that does not end has noticed. */
const TEST_ENDS_WITHIN_MS = 180_000;

type Outcome = 'green' | 'red' | 'did not end';

const { values } = parseArgs({ options: { markdown: { type: 'string' }, only: { type: 'string' } } });
const bundles = {
  'engine.js': readFileSync(join(DIST, 'engine.js'), 'utf8'),
  'server.js': readFileSync(join(DIST, 'server.js'), 'utf8'),
} as const;
const chosen = FAULTS.filter(({ name }) => values.only === undefined || name.includes(values.only));
const faulty = chosen.map((fault) => ({ fault, source: putIn(bundles[bundleOf(fault)], fault) }));
const rows: { readonly fault: Fault; readonly outcome: Outcome }[] = [];
await requireGreen();
for (const { fault, source } of faulty) {
  const outcome = await runTest(source, fault);
  rows.push({ fault, outcome });
  console.log(`${outcome === 'green' ? 'SURVIVED' : 'noticed '}  ${fault.name} (${outcome}): ${fault.test}`);
}
const survived = rows.filter(({ outcome }) => outcome === 'green');
console.log(`\n${rows.length - survived.length} of ${rows.length} faults were noticed`);
if (values.markdown !== undefined) writeFileSync(resolve(values.markdown), toMarkdown());
process.exitCode = survived.length > 0 ? 1 : 0;

function bundleOf({ bundle = 'engine.js' }: Fault): keyof typeof bundles {
  return bundle;
}

function putIn(source: string, fault: Fault): string {
  const { name, anchor, replacement } = fault;
  const matches =
    typeof anchor === 'string' ? source.split(anchor).length - 1 : [...source.matchAll(everyMatch(anchor))].length;
  if (matches !== 1)
    throw new Error(
      `The anchor of "${name}" matches ${matches} times in dist/${bundleOf(fault)}, not once: ${String(anchor)}`,
    );
  return typeof anchor === 'string' ? source.replace(anchor, () => replacement) : source.replace(anchor, replacement);
}

function everyMatch(anchor: RegExp): RegExp {
  return new RegExp(anchor.source, `${anchor.flags}g`);
}

/** Red means something only of a test that is green on the engine as it was built. */
async function requireGreen(): Promise<void> {
  const tests = new Map(chosen.map((fault) => [fault.test, fault]));
  for (const fault of tests.values()) {
    const outcome = await runTest(bundles[bundleOf(fault)], fault);
    if (outcome !== 'green') throw new Error(`"${fault.test}" is ${outcome} without any fault. Mend it first.`);
  }
  console.log(`${tests.size} tests are green without a fault\n`);
}

/** A folder like `dist` with this bundle in it, and everything else of the build beside it. */
async function runTest(source: string, fault: Fault): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'local-data-sabotage-'));
  try {
    for (const name of readdirSync(DIST)) {
      if (!name.startsWith(bundleOf(fault))) symlinkSync(join(DIST, name), join(folder, name));
    }
    writeFileSync(join(folder, bundleOf(fault)), source);
    return await runMocha(join(folder, bundleOf(fault)), fault);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runMocha(bundlePath: string, fault: Fault): Promise<Outcome> {
  const { test, testFile } = fault;
  const variable = bundleOf(fault) === 'engine.js' ? 'LOCAL_DATA_ENGINE' : 'LOCAL_DATA_SERVER';
  const mocha = join(REPOSITORY, 'node_modules/mocha/bin/mocha.js');
  const args = [mocha, '--reporter', 'dot', '--exit', '--timeout', '30000', '--fgrep', test, testFile];
  const child = spawn(process.execPath, args, {
    cwd: REPOSITORY,
    env: { ...process.env, [variable]: bundlePath },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolveOutcome, reject) => {
    let ended = true;
    const timer = setTimeout(() => {
      ended = false;
      child.kill('SIGKILL');
    }, TEST_ENDS_WITHIN_MS);
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(timer);
      const count = (word: string): number => Number(new RegExp(`(\\d+) ${word}`).exec(output)?.[1] ?? 0);
      if (!ended) resolveOutcome('did not end');
      else if (count('failing') > 0) resolveOutcome('red');
      else if (count('passing') > 0) resolveOutcome('green');
      else reject(new Error(`"${test}" did not run once in ${testFile}:\n${output}`));
    });
  });
}

function toMarkdown(): string {
  const lines = rows.map(({ fault, outcome }) => {
    const verdict = outcome === 'green' ? '**survived**' : outcome === 'red' ? 'red' : 'did not end';
    return `| ${fault.name} | ${fault.harm} | ${fault.test} (\`${fault.testFile}\`) | ${verdict} |`;
  });
  return `# Sabotage

\`npm run sabotage\` puts one fault at a time into a copy of the built engine or server and runs the test that must notice it. Each
test is green without the fault; a fault that survives, or whose place in the bundle is no longer found, fails the run.

| fault | what it would do | test | with the fault |
| --- | --- | --- | --- |
${lines.join('\n')}

${rows.length - survived.length} of ${rows.length} faults were noticed.
`;
}
