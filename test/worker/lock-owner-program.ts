// Run as a process of its own by the lock's tests: tries for the lock, says how it went in one line, and holds it until told to go.
import { acquireDataDirectoryLock } from '../../src/db/data-directory-lock.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';

const [dataDir = '', waitMs = '0'] = process.argv.slice(2);

process.stdout.write('started\n');
process.stdin.once('data', () => void run());

async function run(): Promise<void> {
  try {
    const lock = await acquireDataDirectoryLock(dataDir, { waitMs: Number(waitMs) });
    process.stdout.write('owner\n');
    process.stdin.once('data', () => void lock.release().then(() => process.exit(0)));
  } catch (error) {
    process.stdout.write(`refused ${error instanceof LocalDataError ? error.code : String(error)}\n`);
    process.exit(0);
  }
}
