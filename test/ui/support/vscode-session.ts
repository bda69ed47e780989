// Real VS Code with the packaged extension installed, and a browser that shows it: what every UI test and the walk stand
// on. It must leave no process and no file behind, and act on VS Code only as a person could.
//
// How to use it (Node 24; the VSIX must be there: `npm run package`, or `npm run test:ui`, which builds it when it is old):
//
//   const session = await VscodeSession.start({ settings: { 'localData.retry.limit': 2 } });
//   const workbench = await session.open();            // its own empty workspace, dark theme
//   await workbench.openChangesView();
//   await workbench.runCommand('Create Database');     // the words after "Local Data: " in the palette
//   await workbench.row('task-17').click();            // a row of the Changes view
//   await workbench.chooseFromMenu(workbench.row('task-17'), 'Edit & Retry');
//   await (await workbench.panel()).getByRole('grid'); // a FrameLocator inside the Entities panel
//   await session.screenshot('edit-and-retry');        // test-results/, or docs/screenshots/ with LOCAL_DATA_SCREENSHOTS=1
//   await session.setTheme('light');                   // dark, light, high-contrast, high-contrast-light; by the palette
//   await session.openInstead(folder);                 // another folder, or null for none, in the same window
//   await session.reload();  await session.reopen();   // same page again; browser closed and opened, profile kept
//   await session.restart();                           // server killed and started on another port, data kept
//   await session[Symbol.asyncDispose]();              // in after()
//
// Run one file: npm run test:ui -- test/ui/start.test.ts
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { launchPersonsBrowser } from '../../../scripts/chromium.ts';
import { projectRoot, vsixFile } from '../../../scripts/project.ts';
import { QUIET_SETTINGS, startVscodeServer } from '../../../scripts/vscode-server.ts';
import type { VscodeServer } from '../../../scripts/vscode-server.ts';
import { Workbench } from '../workbench.ts';

/** The setting, the label in the palette, and the class that the workbench then has. */
const THEMES = {
  dark: { setting: 'Default Dark Modern', label: 'Dark Modern', style: 'vs-dark' },
  light: { setting: 'Default Light Modern', label: 'Light Modern', style: 'vs' },
  'high-contrast': { setting: 'Default High Contrast', label: 'Dark High Contrast', style: 'hc-black' },
  'high-contrast-light': { setting: 'Default High Contrast Light', label: 'Light High Contrast', style: 'hc-light' },
} as const;

export type Theme = keyof typeof THEMES;

export interface SessionOptions {
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly theme?: Theme;
  /** On: VS Code asks whether the workspace is trusted, and starts in Restricted Mode. */
  readonly workspaceTrust?: boolean;
  /** Further packaged extensions beside ours. */
  readonly vsixFiles?: readonly string[];
  /** The folder of an earlier session, to find its data again; not removed at the end. */
  readonly home?: string;
}

export class VscodeSession implements AsyncDisposable {
  /** User data, extensions, browser profile and the workspace lie in here. */
  readonly home: string;
  /** The workspace opened unless another is named. */
  readonly workspace: string;
  readonly #options: SessionOptions;
  #server: VscodeServer;
  #context: BrowserContext | undefined;
  #page: Page | undefined;
  #folder: string | undefined;

  private constructor(home: string, options: SessionOptions, server: VscodeServer) {
    this.home = home;
    this.workspace = join(home, 'workspace');
    this.#options = options;
    this.#server = server;
  }

  static async start(options: SessionOptions = {}): Promise<VscodeSession> {
    if (!existsSync(vsixFile)) throw new Error(`${vsixFile} is missing; run npm run package.`);
    const home = options.home ?? mkdtempSync(join(tmpdir(), 'local-data-ui-'));
    mkdirSync(join(home, 'workspace'), { recursive: true });
    const vsixFiles = [vsixFile, ...(options.vsixFiles ?? [])];
    return new VscodeSession(home, options, await startVscodeServer(serverOptions(home, options, vsixFiles)));
  }

  /** The newest page; throws before `open`. */
  get page(): Page {
    if (this.#page === undefined) throw new Error('No window is open; call open() first.');
    return this.#page;
  }

  get server(): VscodeServer {
    return this.#server;
  }

  /** A window on the folder; `null` opens one without a folder. A second call opens a second window. */
  async open(folder: string | null = this.workspace): Promise<Workbench> {
    this.#context ??= await this.#launch();
    // A browser starts with one empty page, which becomes the first window.
    const empty = this.#context.pages().find((page) => page.url() === 'about:blank');
    this.#page = empty ?? (await this.#context.newPage());
    this.#folder = folder ?? undefined;
    await this.#page.goto(this.#server.address(this.#folder));
    return this.#shown();
  }

  /** The newest window goes to another folder; `null` is no folder. */
  async openInstead(folder: string | null): Promise<Workbench> {
    this.#folder = folder ?? undefined;
    await this.page.goto(this.#server.address(this.#folder));
    return this.#shown();
  }

  /** A page can ask before it goes when an editor is dirty; a person who reloads says yes. */
  async reload(): Promise<Workbench> {
    await this.page.reload();
    return this.#shown();
  }

  /** Closes the browser and opens it again with the same profile. */
  async reopen(): Promise<Workbench> {
    await this.closeBrowser();
    return this.open(this.#folder ?? null);
  }

  async closeBrowser(): Promise<void> {
    await this.#context?.close();
    this.#context = undefined;
    this.#page = undefined;
  }

  /** Kills the server as a crash would and starts it again, on another port; `open` shows it anew. */
  async restart(): Promise<void> {
    await this.closeBrowser();
    await this.#server.kill();
    this.#server = await startVscodeServer(serverOptions(this.home, this.#options, []));
  }

  /** From the palette, as a person does; the choice is kept for windows opened later. */
  async setTheme(theme: Theme): Promise<void> {
    const { label, style } = THEMES[theme];
    const workbench = new Workbench(this.page);
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    await this.page.keyboard.press('F1');
    await workbench.input().fill('>Preferences: Color Theme');
    await rows.filter({ hasText: 'Preferences: Color Theme' }).first().click();
    await workbench
      .input()
      .and(this.page.getByPlaceholder(/Color Theme/))
      .fill(label);
    await rows.filter({ hasText: label }).first().click();
    await this.page.locator(`.monaco-workbench.${style}`).waitFor();
  }

  /** Into docs/screenshots/ only when LOCAL_DATA_SCREENSHOTS=1, so that tests leave the working tree alone. */
  async screenshot(name: string): Promise<string> {
    const forDocs = process.env.LOCAL_DATA_SCREENSHOTS === '1';
    const folder = join(projectRoot, forDocs ? 'docs/screenshots' : 'test-results');
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${name}.png`);
    await this.page.screenshot({ path, animations: 'disabled', caret: 'hide' });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeBrowser();
    await this.#server[Symbol.asyncDispose]();
    if (this.#options.home === undefined) rmSync(this.home, { recursive: true, force: true, maxRetries: 3 });
  }

  async #launch(): Promise<BrowserContext> {
    const context = await launchPersonsBrowser(join(this.home, 'browser'));
    context.on('page', acceptLeaving);
    for (const page of context.pages()) acceptLeaving(page);
    return context;
  }

  async #shown(): Promise<Workbench> {
    await this.page.locator('.monaco-workbench .activitybar').waitFor({ timeout: 60_000 });
    return new Workbench(this.page);
  }
}

function acceptLeaving(page: Page): void {
  page.on('dialog', (dialog) => void dialog.accept().catch(() => undefined));
}

function allSettings(options: SessionOptions): Record<string, unknown> {
  return { ...QUIET_SETTINGS, 'workbench.colorTheme': THEMES[options.theme ?? 'dark'].setting, ...options.settings };
}

function serverOptions(home: string, options: SessionOptions, vsixFiles: readonly string[]) {
  const settings = allSettings(options);
  return { home, vsixFiles, settings, workspaceTrust: options.workspaceTrust ?? false };
}
