// The engine as it ships: tests of the engine always run against the built bundle, or the one that LOCAL_DATA_ENGINE
// names, so that a fault put into the bundle turns a test red.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL, fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../dist/engine.js', import.meta.url));
export const enginePath = process.env['LOCAL_DATA_ENGINE'] ?? built;

type Engine = typeof import('../../src/engine/open-local-data.ts');
const engine = (await import(pathToFileURL(enginePath).href)) as Engine;

export const { openLocalData, LocalDataError, TransportError } = engine;
export type LocalDataEngine = Awaited<ReturnType<Engine['openLocalData']>>;

/** A directory of its own for one test, and the function that removes it. */
export function temporaryDirectory(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'local-data-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

type OpenOptions = Parameters<Engine['openLocalData']>[0];

/** An engine on a directory of its own, which goes when it is closed; quicker to open than one in memory. */
export async function openTemporary(options: Omit<OpenOptions, 'dataDir' | 'memory'> = {}): Promise<LocalDataEngine> {
  const directory = temporaryDirectory();
  const data = await openLocalData({ ...options, dataDir: join(directory.path, 'data') });
  const close = data.close.bind(data);
  data.close = async () => {
    await close();
    directory.remove();
  };
  return data;
}
