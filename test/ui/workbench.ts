// What a person does in VS Code, as verbs over a browser page: everything by mouse and keyboard, nothing by a back door.
import type { FrameLocator, Locator, Page } from 'playwright-core';

export class Workbench {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** A row of the Changes view that contains the text. */
  row(text: string | RegExp): Locator {
    return this.page.locator('.pane-body .monaco-list-row').filter({ hasText: text });
  }

  /** Opens a group of the Changes view, unless it is open. */
  async expand(text: string | RegExp): Promise<void> {
    const row = this.row(text).first();
    await row.waitFor();
    if ((await row.getAttribute('aria-expanded')) !== 'true') await row.locator('.monaco-tl-twistie').click();
    await row.and(this.page.locator('[aria-expanded="true"]')).waitFor();
  }

  /** Where nothing has a tooltip: the empty part below the rows of the Changes view. */
  async pointNowhere(): Promise<void> {
    const size = this.page.viewportSize();
    await this.page.mouse.move(200, (size?.height ?? 800) - 120);
    await this.page.locator('.workbench-hover').waitFor({ state: 'detached' });
    await this.page.locator('.pane-body .monaco-list-row:hover').waitFor({ state: 'detached' });
  }

  async rows(): Promise<string[]> {
    return this.page.locator('.pane-body .monaco-list-row').allInnerTexts();
  }

  /** The number on the icon in the activity bar, or an empty text. */
  badge(): Locator {
    return this.#activity().locator('.badge-content');
  }

  /** How the server is, in the status bar. */
  serverItem(): Locator {
    return this.page.locator('[id="vibestack.local-data.localData.sync"]');
  }

  networkItem(): Locator {
    return this.page.locator('[id="vibestack.local-data.localData.network"]');
  }

  statusBarItem(): Locator {
    return this.page.locator('[id="vibestack.local-data.localData.status"]');
  }

  async openChangesView(): Promise<void> {
    const label = this.#activity().locator('.action-label');
    await label.waitFor({ timeout: 30_000 });
    const isOpen = await this.page
      .locator('.pane-header, .composite.title')
      .filter({ hasText: /Local Data/i })
      .count();
    if (isOpen === 0) await label.click();
  }

  /** Runs a command as a person would: by its words in the command palette. */
  async runCommand(title: string): Promise<void> {
    await this.runAnyCommand(`Local Data: ${title}`);
  }

  /** One of any extension or of VS Code itself, by its whole title. */
  async runAnyCommand(title: string): Promise<void> {
    await this.page.keyboard.press('F1');
    const input = this.page.locator('.quick-input-widget input');
    await input.waitFor();
    await input.fill(`>${title}`);
    await this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: title }).first().waitFor();
    await this.page.keyboard.press('Enter');
  }

  async paletteTitles(): Promise<string[]> {
    await this.page.keyboard.press('F1');
    await this.page.locator('.quick-input-widget input').fill('>Local Data: ');
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    await rows.first().waitFor();
    const titles = new Set<string>();
    for (let steps = 0; steps < 40; steps++) {
      for (const text of await rows.allInnerTexts()) titles.add(text.split('\n')[0] ?? '');
      await this.page.keyboard.press('ArrowDown');
    }
    await this.page.keyboard.press('Escape');
    return [...titles];
  }

  async contextMenu(row: Locator): Promise<string[]> {
    await row.click({ button: 'right' });
    const items = this.page.locator('.context-view .action-menu-item, .shadow-root-host .action-menu-item');
    await this.page.getByRole('menuitem').first().waitFor();
    const roles = await this.page.getByRole('menuitem').allInnerTexts();
    return roles.length > 0 ? roles.map((text) => text.split('\n')[0] ?? '') : items.allInnerTexts();
  }

  async chooseFromMenu(row: Locator, title: string): Promise<void> {
    await this.contextMenu(row);
    // From the start of the title: "Retry" is not "Edit & Retry". A keybinding may follow it.
    const whole = new RegExp(`^${title.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}($|\\s)`);
    const item = this.page.getByRole('menuitem', { name: whole }).first();
    await item.click();
    // VS Code ignores a click in the instant its menu opens, like the release of the button that opened it; a person
    // who sees the menu stay clicks again.
    const closed = item.waitFor({ state: 'hidden', timeout: 2_000 });
    await closed.catch(() => item.click());
  }

  /** The editor tab with this title. */
  tab(title: string | RegExp): Locator {
    return this.page.locator('.tabs-container .tab').filter({ hasText: title });
  }

  dialog(): Locator {
    return this.page.locator('.monaco-dialog-box');
  }

  async answer(button: string): Promise<void> {
    await this.dialog().getByRole('button', { name: button, exact: true }).click();
  }

  /** The field of the quick input that asks for something, a file to open included. */
  input(): Locator {
    return this.page.locator('.quick-input-widget:visible').locator('input[type="text"], input[type="password"]');
  }

  /** Leaves the quick input that is shown without an answer. */
  async leaveInput(): Promise<void> {
    await this.page.keyboard.press('Escape');
    await this.page.locator('.quick-input-widget:visible').waitFor({ state: 'detached' });
  }

  /** Answers the quick input that is shown, once it asks what `prompt` says. */
  async fillInput(prompt: string | RegExp, value: string): Promise<void> {
    await this.page.locator('.quick-input-widget:visible').filter({ hasText: prompt }).waitFor();
    await this.input().fill(value);
    await this.page.keyboard.press('Enter');
  }

  /** Chooses an entry of the quick pick that is shown. */
  async pick(label: string | RegExp): Promise<void> {
    const entry = this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: label }).first();
    await entry.waitFor();
    await entry.click();
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notification-list-item').filter({ hasText: text });
  }

  /** Closes a notification that was read. */
  async dismiss(text: string | RegExp): Promise<void> {
    const item = this.notification(text);
    await item.hover();
    await item.locator('.codicon-notifications-clear').click();
    await item.waitFor({ state: 'detached' });
  }

  /** The document inside the webview that is visible: VS Code puts each into a frame within a frame. */
  async panel(): Promise<FrameLocator> {
    const outer = this.page.locator('iframe.webview.ready:visible').last();
    await outer.waitFor({ timeout: 30_000 });
    const inner = outer.contentFrame().locator('iframe#active-frame');
    await inner.waitFor({ timeout: 30_000 });
    return inner.contentFrame();
  }

  /** The lines of the text editor that is shown. */
  editorText(): Locator {
    return this.page.locator('.editor-instance .view-lines').last();
  }

  /** Replaces what stands in the text editor that is shown, as by pasting. */
  async replaceEditorText(text: string): Promise<void> {
    await this.editorText().click();
    await this.page.keyboard.press('ControlOrMeta+a');
    await this.page.keyboard.insertText(text);
  }

  #activity(): Locator {
    return this.page
      .locator('.activitybar .action-item')
      .filter({ has: this.page.locator('[aria-label^="Local Data"]') });
  }
}
