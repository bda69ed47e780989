// `npm run walk`: a stranger's first half hour, acted out. Clones HEAD into a fresh home with an empty npm cache and no
// display, runs the line that README gives, and works in VS Code by mouse and keyboard alone, with a picture of each
// step; then another process opens the data directory and compares it with what the screen said. It must never help
// itself to anything a person could not see. `--here` walks this checkout instead, to try the walk itself.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext } from 'playwright-core';
import { launchPersonsBrowser } from '../../scripts/chromium.ts';
import { projectRoot } from '../../scripts/project.ts';
import { compareWithData } from './compare-with-data.ts';
import { OwnServer } from './own-server.ts';
import { WalkReport } from './report.ts';
import { runStart } from './running-start.ts';
import type { RunningStart } from './running-start.ts';
import { serverSteps } from './server-steps.ts';
import { expectSameGroups, walkSteps } from './steps.ts';
import { Workbench } from '../ui/workbench.ts';

const here = process.argv.includes('--here');
const home = mkdtempSync(join(tmpdir(), 'local-data-walk-'));
const project = here ? projectRoot : join(home, 'local-data');
const pictures = join(projectRoot, here ? 'test-results/walk' : 'docs/screenshots/walk');
const running: RunningStart[] = [];
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130));

try {
  await walk();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  rmSync(home, { recursive: true, force: true, maxRetries: 3 });
}

async function walk(): Promise<void> {
  rmSync(pictures, { recursive: true, force: true });
  mkdirSync(pictures, { recursive: true });
  const report = new WalkReport(pictures);
  if (!here) await report.step('Clone HEAD into a fresh home', async () => clone());
  const line = here ? 'npm start -- --fresh --web' : lineOfReadme();
  const env = freshEnvironment();
  const first = await report.step(`Run what README says: ${line}`, () => start(line, env));
  let browser = await launchPersonsBrowser(join(home, 'browser'));
  try {
    const opened = await openWorkbench(browser, first.address);
    const facts = await walkSteps(opened, report).catch((error: unknown) => pictureFailure(opened, error));
    await report.step('Close the window, and stop with Ctrl+C', async () => {
      await browser.close();
      await first.interrupt();
    });
    const again = here ? 'npm start -- --web' : 'npm start';
    const second = await report.step(`Start again: ${again}`, () => start(again, env));
    browser = await launchPersonsBrowser(join(home, 'browser'));
    const workbench = await openWorkbench(browser, second.address);
    await report.step('Reopen: everything is as it was left', async () => {
      await workbench.row('Failed').waitFor({ timeout: 60_000 });
      await (await workbench.panel()).getByRole('grid').waitFor();
      expectSameGroups(facts, await workbench.rows());
      return workbench.page;
    });
    await using own = await report.step('In a second terminal: npm run server', () =>
      OwnServer.start(project, home, env),
    );
    const last = await serverSteps(workbench, own, report).catch((error: unknown) => pictureFailure(workbench, error));
    await browser.close();
    await report.step('Stop with Ctrl+C', () => second.interrupt());
    await report.step('A separate process finds in the data directory what the screen said', async () => {
      report.compared(compareWithData(project, last));
    });
  } finally {
    await browser.close();
    await Promise.all(running.map((start) => start.interrupt()));
  }
  report.write(here ? join(pictures, 'walk.md') : join(projectRoot, 'docs/walk.md'));
}

async function start(line: string, env: NodeJS.ProcessEnv): Promise<RunningStart> {
  const started = await runStart(line, project, env);
  running.push(started);
  return started;
}

async function pictureFailure({ page }: Workbench, error: unknown): Promise<never> {
  await page.screenshot({ path: join(pictures, 'failure.png') }).catch(() => undefined);
  throw error;
}

function clone(): void {
  const dirty = execFileSync('git', ['status', '--porcelain'], { cwd: projectRoot, encoding: 'utf8' }).trim();
  if (dirty !== '') console.log('What is not committed is not walked.');
  execFileSync('git', ['clone', '--quiet', '--no-hardlinks', projectRoot, project], { stdio: 'inherit' });
}

/** The one line of README's first screen that starts it. */
function lineOfReadme(): string {
  const file = join(project, 'README.md');
  if (!existsSync(file)) throw new Error('There is no README.md to follow.');
  const firstScreen = readFileSync(file, 'utf8').split('\n').slice(0, 60);
  const line = firstScreen.find((text) => /^\s*(\$ )?npm (ci|install)\b.*npm start\b/.test(text));
  if (line === undefined)
    throw new Error("README's first screen has no line that installs and starts (npm ci && npm start).");
  return line
    .trim()
    .replace(/^\$ /, '')
    .replace(/\s+#.*$/, '');
}

/** A new home, an empty npm cache, no display, and nothing of the npm script that this runs in. */
function freshEnvironment(): NodeJS.ProcessEnv {
  if (here) return { ...process.env, DISPLAY: undefined, BROWSER: 'true' };
  const kept = ['LANG', 'TZ', 'NODE_EXTRA_CA_CERTS', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'npm_config_registry'];
  const own = projectRoot;
  const path = (process.env.PATH ?? '')
    .split(':')
    .filter((folder) => !folder.startsWith(own) && !folder.includes('node_modules'));
  return {
    ...Object.fromEntries(kept.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined)),
    PATH: path.join(':'),
    HOME: home,
    npm_config_cache: join(home, 'npm-cache'),
  };
}

async function openWorkbench(context: BrowserContext, address: string): Promise<Workbench> {
  const page = context.pages()[0] ?? (await context.newPage());
  page.on('dialog', (dialog) => void dialog.accept().catch(() => undefined));
  page.setDefaultTimeout(90_000);
  await page.goto(address);
  await page.locator('.monaco-workbench .activitybar').waitFor();
  return new Workbench(page);
}
