// Opens the data directory named, in a process of its own and with the built engine alone, and prints as JSON what is in
// it: what the walk's screen is compared with. Run as: node read-data.ts ENGINE.js DATA-DIRECTORY ENTITY-TYPE ENTITY-ID
import type { LocalData } from '../../src/engine/local-data.ts';

const [engine = '', dataDir = '', entityType = '', entityId = ''] = process.argv.slice(2);
const { openLocalData } = (await import(engine)) as { openLocalData: (options: object) => Promise<LocalData> };
const data = await openLocalData({ dataDir, startProcessor: false });
try {
  const { rows } = await data.query('SELECT status, count(*)::int AS n FROM local_changes GROUP BY status');
  const types = await data.listEntityTypes();
  const { changes } = await data.listChanges({ status: ['failed', 'blocked'], limit: 100 });
  const found = {
    statuses: Object.fromEntries(rows.map((row) => [String(row.status), Number(row.n)])),
    types: Object.fromEntries(types.map((info) => [info.entityType, info.count])),
    waiting: changes.map((change) => `${change.operation} ${change.entityType} ${change.entityId}`).sort(),
    entity: await data.getEntity(entityType, entityId),
  };
  console.log(JSON.stringify(found));
} finally {
  await data.close();
}
