// What a command is: one file in commands/ exporting one definition, typed by its declaration in contributions.ts.
// Every command exists from activation on; whatever goes wrong in one is told to the person once, here.
import * as vscode from 'vscode';
import type { CommandArguments, CommandId } from './contributions.ts';
import type { Host } from './host.ts';
import { showFailure } from './notices.ts';

export interface CommandDefinition<Id extends CommandId = CommandId> {
  readonly id: Id;
  run(host: Host, ...args: CommandArguments<Id>): Promise<unknown>;
}

export function defineCommand<Id extends CommandId>(
  id: Id,
  run: (host: Host, ...args: CommandArguments<Id>) => Promise<unknown>,
): CommandDefinition<Id> {
  return { id, run };
}

/** A definition whose argument types are VS Code's to bring: they were checked where the command was declared. */
export interface AnyCommand {
  readonly id: CommandId;
  run(host: Host, ...args: readonly unknown[]): Promise<unknown>;
}

export function registerCommand(host: Host, command: AnyCommand): vscode.Disposable {
  return vscode.commands.registerCommand(command.id, async (...args: unknown[]) => {
    try {
      return await command.run(host, ...args);
    } catch (error) {
      // Not awaited: whoever ran the command is answered now, not when the notification is closed.
      void showFailure(error, host.log);
      return undefined;
    }
  });
}
