// The built engine as scripts run it: `dist/engine.js` in this process, loaded when it is opened and not before.
// Set LOCAL_DATA_DIST to use another build folder.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { OpenLocalDataOptions } from '../../src/engine/open-local-data.ts';
import type { LocalData } from '../../src/engine/local-data.ts';

export const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const DIST = resolve(REPOSITORY, process.env['LOCAL_DATA_DIST'] ?? 'dist');

interface EngineBundle {
  openLocalData(options: OpenLocalDataOptions): Promise<LocalData>;
}

export async function openBuilt(options: OpenLocalDataOptions): Promise<LocalData> {
  // The bundle is JavaScript; its face is the source it was built from.
  const bundle = (await import(pathToFileURL(built('engine.js')).href)) as EngineBundle;
  return bundle.openLocalData(options);
}

export function built(name: string): string {
  const file = join(DIST, name);
  if (!existsSync(file)) throw new Error(`${file} is not there. Run "npm run build" first.`);
  return file;
}
