// Makes the template data directory that new databases start from: the built engine opens an empty directory once, and
// what it leaves is kept. A package drops
// empty directories, so these are listed beside it. Made again only when PGlite or the schema has changed.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = join(root, 'dist/template');
const template = join(target, 'data');
const keyFile = join(target, 'made-from');
const inputs = ['src/db/migrations.ts', 'src/db/open-database.ts', 'node_modules/@electric-sql/pglite/package.json'];
const key = inputs
  .reduce((hash, file) => hash.update(readFileSync(join(root, file))), createHash('sha256'))
  .digest('hex');

if (existsSync(template) && existsSync(keyFile) && readFileSync(keyFile, 'utf8') === key) {
  console.log('template data directory: up to date');
} else {
  const started = Date.now();
  const work = mkdtempSync(join(tmpdir(), 'local-data-template-'));
  try {
    const dataDir = join(work, 'data');
    const { openLocalData } = await import('../dist/engine.js');
    const data = await openLocalData({ dataDir, templateDir: null, startProcessor: false });
    await data.exec('VACUUM FREEZE');
    await data.exec('CHECKPOINT');
    await data.close();
    rmSync(join(dataDir, 'postmaster.pid'), { force: true });
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    cpSync(dataDir, template, { recursive: true });
    const entries = readdirSync(template, { recursive: true, withFileTypes: true });
    const directories = entries
      .filter((entry) => entry.isDirectory())
      .map((entry) => relative(template, join(entry.parentPath, entry.name)));
    writeFileSync(join(target, 'directories.json'), JSON.stringify(directories.sort()));
    writeFileSync(keyFile, key);
    console.log(`template data directory: made in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
