// The suite that VS Code runs inside its extension host: Mocha over every test file of this folder.
import Mocha from 'mocha';

/** Each line as it is said, so that what ran is known even when something hangs. */
export async function run(): Promise<void> {
  const mocha = new Mocha({ ui: 'bdd', timeout: 60_000, slow: 2_000, reporter: 'spec', color: false });
  const words = process.env['LOCAL_DATA_TEST_GREP'];
  if (words !== undefined) mocha.grep(words);
  mocha.suite.emit('pre-require', globalThis, 'suite', mocha);
  // First: its subject is that no database is open yet.
  await import('./engine-down.test.ts');
  await import('./activation.test.ts');
  await import('./commands.test.ts');
  await import('./edit-and-retry.test.ts');
  await import('./exported-api.test.ts');
  await import('./settings.test.ts');
  await import('./sync.test.ts');
  await import('./sync-rules.test.ts');
  await import('./sync-conflicts.test.ts');
  await import('./undo-change.test.ts');
  await import('./sync-verify.test.ts');
  // They lose what the server and then what this database had.
  await import('./sync-missing.test.ts');
  await import('./sync-start-anew.test.ts');
  await import('./sync-transports.test.ts');
  await new Promise<void>((resolve, reject) => {
    mocha.run((failures) => (failures === 0 ? resolve() : reject(new Error(`${failures} tests failed`))));
  });
}
