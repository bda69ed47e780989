// The rules of synchronisation where a person writes them: the editor knows what the workspace's file may say, and a rule
// that does not fit is told once, with the way to it.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { openSampleData } from './open-database.ts';
import { Person } from './person.ts';
import { when } from './when.ts';

/** Each test has a fault of its own: one that was told stays told until it is seen to be gone. */
const faulty = (entityType: string) => `{
  // What is asked of a person.
  "sync": { "${entityType}": { "conflicts": "newest" } },
}
`;

describe('rules of synchronisation in VS Code', () => {
  let file: vscode.Uri;

  before(async () => {
    await openSampleData();
    const [folder] = vscode.workspace.workspaceFolders ?? [];
    assert.ok(folder, 'a folder is open');
    file = vscode.Uri.joinPath(folder.uri, '.localdata', 'localdata.json');
  });

  afterEach(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await vscode.workspace.getConfiguration().update('localData.sync.rules', undefined, WORKSPACE);
    await vscode.workspace.fs.delete(file);
  });

  it('are completed in .localdata/localdata.json, with what each policy does', async () => {
    await write('{ "sync": { "Task": { "conflicts": "" } } }');
    const document = await vscode.workspace.openTextDocument(file);
    await vscode.window.showTextDocument(document);
    const at = document.positionAt(document.getText().indexOf('""') + 1);
    const { items } = await vscode.commands.executeCommand<vscode.CompletionList>(
      'vscode.executeCompletionItemProvider',
      file,
      at,
    );
    const manual = items.find(({ label }) => (typeof label === 'string' ? label : label.label) === '"manual"');
    assert.match(textOf(manual?.documentation), /stands under Conflicts until you choose/);
  });

  it('are underlined where they do not fit, and comments are not', async () => {
    await write(faulty('User'));
    const document = await vscode.workspace.openTextDocument(file);
    await vscode.window.showTextDocument(document);
    const [only, ...others] = await underlining(document, '"newest"');
    assert.deepEqual(others, []);
    assert.match(only?.message ?? '', /"manual"/);
  });

  it('are told once when they do not fit, with the way to the place in the file', async () => {
    using person = new Person();
    person.answers(/"Task" has "conflicts": "newest"/, (_, [open]) => open);
    await write(faulty('Task'));
    const { message, buttons } = await person.nextNotice();
    assert.match(message, /Until that is corrected nothing it speaks of is sent/);
    assert.deepEqual(buttons, ['Open .localdata/localdata.json']);
    const { document } = await selecting('"newest"');
    assert.equal(document.uri.toString(), file.toString());

    // The same fault beside another is not told again; the other is.
    await write(faulty('Task').replace('} },', '}, "Draft": 5 },'));
    const second = await person.nextNotice();
    assert.match(second.message, /"Draft" must be an object/);
    assert.doesNotMatch(second.message, /newest/);
  });

  it('are told again when the same fault comes back after it was mended', async () => {
    using person = new Person();
    await write('{ "sync": { "Project": { "conflicts": "newest" } } }');
    assert.match((await person.nextNotice()).message, /"Project" has "conflicts": "newest"/);
    await write('{ "sync": { "Project": { "conflicts": true } } }');
    assert.match((await person.nextNotice()).message, /"Project" has "conflicts": true/);
    await write('{ "sync": { "Project": { "conflicts": "newest" } } }');
    assert.match((await person.nextNotice()).message, /"Project" has "conflicts": "newest"/);
    assert.deepEqual(person.notices, []);
  });

  it('of the setting lead to the setting', async () => {
    await write('{}');
    using person = new Person();
    person.answers(/localData\.sync\.rules: "Task"/, undefined);
    const rules = { Task: { sync: 'never' } };
    await vscode.workspace.getConfiguration().update('localData.sync.rules', rules, WORKSPACE);
    const { message, buttons } = await person.nextNotice();
    assert.match(message, /has a "sync" that is neither true nor false/);
    assert.deepEqual(buttons, ['Open Setting']);
  });

  async function write(text: string): Promise<void> {
    await vscode.workspace.fs.writeFile(file, new TextEncoder().encode(text));
  }
});

const WORKSPACE = vscode.ConfigurationTarget.Workspace;

/** Those of a document once one of them underlines this text. */
function underlining(document: vscode.TextDocument, text: string): Promise<vscode.Diagnostic[]> {
  const { uri } = document;
  const look = () => {
    const found = vscode.languages.getDiagnostics(uri);
    return found.some(({ range }) => document.getText(range) === text) ? found : undefined;
  };
  return when(look, vscode.languages.onDidChangeDiagnostics);
}

/** The editor in which this text is selected. */
function selecting(text: string): Promise<vscode.TextEditor> {
  const look = () => {
    const editor = vscode.window.activeTextEditor;
    return editor !== undefined && editor.document.getText(editor.selection) === text ? editor : undefined;
  };
  return when(look, vscode.window.onDidChangeActiveTextEditor, vscode.window.onDidChangeTextEditorSelection);
}

function textOf(documentation: string | vscode.MarkdownString | undefined): string {
  return typeof documentation === 'string' ? documentation : (documentation?.value ?? '');
}
