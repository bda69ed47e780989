// A person at the dialogs of VS Code: answers what commands ask, in the order given, and keeps what they were told.
// A question that nobody expected fails the test that caused it, and is answered as Escape would.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';

export interface Notice {
  readonly kind: 'information' | 'warning' | 'error';
  readonly message: string;
  readonly detail: string | undefined;
  readonly buttons: readonly string[];
}

type Answer = (question: string, choices: readonly string[]) => unknown;
/** What of `vscode.window` speaks to a person. The typed overloads are VS Code's; here any of them is one function. */
type Window = Record<string, (...args: never[]) => unknown>;

export class Person implements Disposable {
  readonly notices: Notice[] = [];
  readonly statusMessages: string[] = [];
  readonly #answers: { readonly to: RegExp; readonly answer: Answer }[] = [];
  readonly #unexpected: string[] = [];
  readonly #originals = new Map<string, Window[string]>();
  readonly #told = new vscode.EventEmitter<Notice>();

  constructor() {
    for (const kind of ['information', 'warning', 'error'] as const) {
      const name = `show${kind.charAt(0).toUpperCase()}${kind.slice(1)}Message`;
      this.#replace(name, (message: string, ...rest: unknown[]) => this.#tell(kind, message, rest));
    }
    this.#replace('setStatusBarMessage', (text: string) => {
      this.statusMessages.push(text);
      return new vscode.Disposable(() => {});
    });
    this.#replace(
      'showQuickPick',
      async (items: readonly vscode.QuickPickItem[], options?: vscode.QuickPickOptions) => {
        const label = await this.#ask(
          options?.placeHolder ?? '',
          items.map((item) => item.label),
        );
        return items.find((item) => item.label === label);
      },
    );
    this.#replace('showInputBox', async (options: vscode.InputBoxOptions = {}) => {
      const text = await this.#ask(options.prompt ?? '', []);
      if (typeof text !== 'string') return undefined;
      const refusal = await options.validateInput?.(text);
      assert.ok(refusal === undefined || refusal === null, `"${text}" was refused: ${String(refusal)}`);
      return text;
    });
  }

  /** Answers the next question that says this: a label, a text, a button; `undefined` is Escape. */
  answers(to: RegExp, answer: Answer | string | undefined): this {
    this.#answers.push({ to, answer: typeof answer === 'function' ? answer : () => answer });
    return this;
  }

  /** What they are told by then or next. */
  async nextNotice(): Promise<Notice> {
    const first = this.notices.shift();
    if (first !== undefined) return first;
    return new Promise((resolve) => {
      const listening = this.#told.event((notice) => {
        listening.dispose();
        this.notices.splice(this.notices.indexOf(notice), 1);
        resolve(notice);
      });
    });
  }

  /** The next that says this; what they are told before it is passed over. */
  async noticeThat(says: RegExp): Promise<Notice> {
    for (;;) {
      const notice = await this.nextNotice();
      if (says.test(notice.message)) return notice;
    }
  }

  [Symbol.dispose](): void {
    const window = vscode.window as unknown as Window;
    for (const [name, original] of this.#originals) window[name] = original;
    this.#told.dispose();
    assert.deepEqual(this.#unexpected, [], 'questions that nobody expected');
    assert.deepEqual(
      this.#answers.map(({ to }) => to.source),
      [],
      'questions that were never asked',
    );
  }

  #replace(name: string, stand: Window[string]): void {
    const window = vscode.window as unknown as Window;
    const original = window[name];
    assert.ok(original !== undefined);
    this.#originals.set(name, original);
    window[name] = stand;
  }

  async #ask(question: string, choices: readonly string[]): Promise<unknown> {
    const [next] = this.#answers;
    if (next === undefined || !next.to.test(question)) {
      this.#unexpected.push(question);
      return undefined;
    }
    this.#answers.shift();
    return next.answer(question, choices);
  }

  /** A notification is only answered when an answer to it is expected; a modal one is a question. */
  async #tell(kind: Notice['kind'], message: string, rest: readonly unknown[]): Promise<unknown> {
    const options = rest.find((one): one is vscode.MessageOptions => typeof one === 'object' && one !== null);
    const buttons = rest.filter((one) => typeof one === 'string');
    const notice: Notice = { kind, message, detail: options?.detail, buttons };
    this.notices.push(notice);
    this.#told.fire(notice);
    const expected = this.#answers[0]?.to.test(message) === true;
    return expected || options?.modal === true ? this.#ask(message, buttons) : undefined;
  }
}
