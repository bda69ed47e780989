// Builds everything that ships: the extension (CommonJS), the engine and its thread (ES modules), the panel, PGlite's
// assets, the types, and the template data directory. Fails when an asset is missing rather than at run time.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, context, transform } from 'esbuild';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = join(root, 'dist');
const watch = process.argv.includes('--watch');
const withTypes = !process.argv.includes('--no-types');

const shared = { absWorkingDir: root, bundle: true, sourcemap: true, logLevel: 'warning', legalComments: 'none' };
const requireInModules = `import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);`;

const bundles = [
  {
    ...shared,
    entryPoints: { extension: 'src/extension.ts' },
    outdir: 'dist',
    outExtension: { '.js': '.cjs' },
    chunkNames: 'extension/[name]-[hash]',
    platform: 'node',
    format: 'esm',
    splitting: true,
    target: 'node20',
    external: ['vscode'],
    // Some packages' CommonJS hides its requires from the bundler.
    mainFields: ['module', 'main'],
    // Names stay as they are: stack traces are read by people.
    minifyWhitespace: true,
    minifySyntax: true,
    sourcemap: 'inline',
    write: false,
    plugins: [{ name: 'split-commonjs', setup: ({ onEnd }) => onEnd(writeAsCommonJs) }],
  },
  {
    ...shared,
    entryPoints: {
      engine: 'src/engine/open-local-data.ts',
      worker: 'src/worker/thread.ts',
      client: 'src/worker/open-in-worker.ts',
    },
    outdir: 'dist',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    banner: { js: requireInModules },
  },
  {
    ...shared,
    entryPoints: { server: 'src/server/start-server.ts' },
    outdir: 'dist',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // Postgres' client in C, which the driver asks for only where somebody wants it.
    external: ['pg-native'],
    banner: { js: requireInModules },
  },
  ...(existsSync(join(root, 'src/webview/main.tsx'))
    ? [
        {
          ...shared,
          entryPoints: { panel: 'src/webview/main.tsx' },
          outdir: 'dist/webview',
          platform: 'browser',
          format: 'esm',
          target: 'es2022',
          minify: true,
          jsx: 'automatic',
          define: { 'process.env.NODE_ENV': '"production"' },
          loader: { '.ttf': 'file' },
          assetNames: '[name]',
        },
      ]
    : []),
];

mkdirSync(dist, { recursive: true });
copyAssets();
if (watch) {
  for (const options of bundles) await (await context(options)).watch();
  console.log('watching');
} else {
  await Promise.all(bundles.map((options) => build(options)));
  if (withTypes) emitTypes();
  run('scripts/build-template.ts');
}

/**
 * The extension is CommonJS, and only what activation needs may load with it (parsing all of it takes longer than all else
 * that activation does). The bundler splits ES modules only, so that its parts are turned into CommonJS one by one.
 */
async function writeAsCommonJs({ outputFiles = [] }) {
  rmSync(join(dist, 'extension'), { recursive: true, force: true });
  mkdirSync(join(dist, 'extension'));
  for (const { path, text } of outputFiles) {
    const { code, map } = await transform(text, {
      format: 'cjs',
      platform: 'node',
      target: 'node20',
      supported: { 'dynamic-import': false },
      minifyWhitespace: true,
      minifySyntax: true,
      sourcemap: true,
      sourcefile: basename(path),
    });
    writeFileSync(path, `${code}//# sourceMappingURL=${basename(path)}.map\n`);
    writeFileSync(`${path}.map`, map);
  }
}

/** What PGlite loads from beside its bundle; `initdb.wasm` only where there is no template. */
function copyAssets() {
  const from = join(root, 'node_modules/@electric-sql/pglite/dist');
  for (const name of ['pglite.wasm', 'pglite.data', 'initdb.wasm']) {
    if (!existsSync(join(from, name))) throw new Error(`PGlite's ${name} is missing in ${from}; run npm ci.`);
    cpSync(join(from, name), join(dist, name));
  }
}

/** `dist/engine.d.ts` over the emitted declarations, whose imports name the files that are there. */
function emitTypes() {
  const compiled = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (compiled.status !== 0) process.exit(compiled.status ?? 1);
  for (const file of readdirSync(join(dist, 'types'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue;
    const path = join(dist, 'types', file);
    const text = readFileSync(path, 'utf8');
    const rewritten = text.replace(/(from\s+|import\()(['"])(\.[^'"]+)\.tsx?\2/g, '$1$2$3.js$2');
    if (rewritten !== text) writeFileSync(path, rewritten);
  }
  writeFileSync(join(dist, 'engine.d.ts'), `export * from './types/engine/open-local-data.js';\n`);
  writeFileSync(join(dist, 'client.d.ts'), `export * from './types/worker/open-in-worker.js';\n`);
  writeFileSync(join(dist, 'server.d.ts'), `export * from './types/server/start-server.js';\n`);
}

function run(script) {
  const { status } = spawnSync(process.execPath, [join(root, script)], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
