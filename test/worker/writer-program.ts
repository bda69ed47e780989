// Run as a process of its own and killed: writes as fast as it can and prints each write once it is acknowledged.
import { writeSync } from 'node:fs';
import { openLocalData } from '../support/engine.ts';

const [dataDir = '', firstText = '0'] = process.argv.slice(2);

const data = await openLocalData({ dataDir });
await data.createChangesTable();
await data.exec('CREATE TABLE IF NOT EXISTS items (id text PRIMARY KEY, n int NOT NULL)');
await data.registerEntityType({ entityType: 'Item', table: 'items' });
say('ready');

for (let n = Number(firstText); ; n += 1) {
  if (n % 2 === 0) {
    const id = `upserted-${n % 20}`;
    await data.upsertEntity('Item', id, { n });
    say(`upserted ${id} ${n}`);
  } else {
    const change = await data.recordChange('Item', `recorded-${n}`, 'insert', { n });
    say(`recorded ${change.id} ${n}`);
  }
}

/** Synchronous: what is printed was printed before the kill. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}
