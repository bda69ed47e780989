// Tells a person of a rule of synchronisation that does not fit, with the way to where it stands. Each fault is told once,
// over starts of VS Code too, until it is mended: what it speaks of is not sent meanwhile, and nobody would look for the
// reason in a file that they believe to be right.
import * as vscode from 'vscode';
import { RULES_FILE } from '../contributions.ts';
import type { RuleFault, RulesSource } from './sync-rules.ts';

const TOLD = 'localData.toldRuleFaults';
const OPEN: Readonly<Record<RulesSource, string>> = { file: `Open ${RULES_FILE}`, setting: 'Open Setting' };

export class RuleFaultNotices {
  readonly #memory: vscode.Memento;
  /** Messages: the same fault elsewhere is another. */
  #told: readonly string[];

  constructor(memory: vscode.Memento) {
    this.#memory = memory;
    this.#told = memory.get<readonly string[]>(TOLD, []);
  }

  /** Given all faults that there are now. Does not wait for a person. */
  async tell(faults: readonly RuleFault[]): Promise<void> {
    const before = this.#told;
    const messages = faults.map(({ message }) => message);
    if (messages.join('\n') === before.join('\n')) return;
    this.#told = messages;
    for (const source of ['file', 'setting'] as const) {
      const fresh = faults.filter((fault) => fault.source === source && !before.includes(fault.message));
      const [first] = fresh;
      if (first !== undefined) void tellOf(first, fresh.length - 1);
    }
    await this.#memory.update(TOLD, messages);
  }
}

async function tellOf(fault: RuleFault, more: number): Promise<void> {
  const others = more === 0 ? '' : ` ${more.toLocaleString()} more of its rules do not fit.`;
  const open = OPEN[fault.source];
  const chosen = await vscode.window.showWarningMessage(`Local Data: ${fault.message}${others}`, open);
  if (chosen === open) await vscode.commands.executeCommand('localData.sync.openRules', fault);
}
