#!/usr/bin/env node
// Stands in for the `code` executable where desktop VS Code cannot be downloaded: takes the development and test paths
// that `runTests` of @vscode/test-electron passes, runs the suite in the extension host of the npm-built VS Code, and
// ends with the suite's exit code.
import { mkdtempSync, rmSync, mkdirSync, cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { format } from 'node:util';
import { launchChromium } from './chromium.ts';
import { startVscodeServer } from './vscode-server.ts';

const LIMIT_MS = 300_000;
const FROM_THE_WORKBENCH =
  /^\s*(Creating a socket|Resolv|\[(reconnection|Service|AgentHost|AccountPolicy|text file)|Updating additional|Creation of workbench|Timed out waiting for auth|getaddrinfo|Cannot find module|Could not locate|Error: (Could not locate|Cannot find module)|Require stack|- \/| → |%c)|code-server|workbench\.js|node:internal|extensionHostProcess|spdlog|native-watchdog/;

const [development, ...others] = valuesOf('extensionDevelopmentPath');
const [tests] = valuesOf('extensionTestsPath');
const [folder] = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
if (development === undefined || tests === undefined) {
  console.error('Needs --extensionDevelopmentPath=… and --extensionTestsPath=…');
  process.exit(2);
}
process.exitCode = await runSuite(development, tests);

async function runSuite(developmentPath: string, testsPath: string): Promise<number> {
  const home = mkdtempSync(join(tmpdir(), 'local-data-vscode-'));
  const workspace = folder ?? join(home, 'workspace');
  mkdirSync(workspace, { recursive: true });
  // The browser build takes one path under development; the others are there as if they were installed.
  for (const other of others) cpSync(other, join(home, 'extensions', basename(other)), { recursive: true });
  const server = await startVscodeServer({ home, testDriver: true });
  const browser = await launchChromium();
  try {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await context.newPage();
    const ended = Promise.withResolvers<number>();
    const late = setTimeout(() => {
      console.error(`The suite did not end within ${LIMIT_MS / 1_000} s`);
      ended.resolve(1);
    }, LIMIT_MS);
    await page.exposeFunction('codeAutomationExit', (code: number) => ended.resolve(code));
    await page.exposeFunction('codeAutomationLog', print);
    const remote = (path: string) => `vscode-remote://127.0.0.1:${server.port}${path}`;
    const payload = JSON.stringify([
      ['extensionDevelopmentPath', remote(developmentPath)],
      ['extensionTestsPath', remote(testsPath)],
    ]);
    await page.goto(server.address(workspace, { payload }));
    const code = await ended.promise;
    clearTimeout(late);
    return code;
  } finally {
    await browser.close();
    await server.kill();
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The suite's own lines; the workbench speaks of itself on the same channel. */
function print(_type: string, args: unknown): void {
  const line = Array.isArray(args) ? format(...args) : String(args);
  for (const part of line.split('\n')) if (!FROM_THE_WORKBENCH.test(part)) console.log(part);
}

function valuesOf(option: string): string[] {
  const start = `--${option}=`;
  return process.argv.filter((argument) => argument.startsWith(start)).map((argument) => argument.slice(start.length));
}
