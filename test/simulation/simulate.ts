// `npm run simulate -- --seed N --clients C --steps S --seeds M --troubles LIST`: runs histories from seeds one after the other, and prints of
// the first that fails its seed and the shortest history that can be found.
import { parseArgs } from 'node:util';
import { Laboratory } from './laboratory.ts';
import { type History, type SimulationOptions, TROUBLES, type Trouble, simulate } from './simulation.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    clients: { type: 'string', default: '3' },
    steps: { type: 'string', default: '80' },
    troubles: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});

const first = numberOf(values.seed, 'seed');
const count = numberOf(values.seeds, 'seeds');
const clients = numberOf(values.clients, 'clients');
const steps = numberOf(values.steps, 'steps');
const troubles = values.troubles === undefined ? {} : { troubles: troublesOf(values.troubles) };
const laboratory = await Laboratory.open();
let failed = 0;
let changes = 0;
let setAside = 0;
const started = performance.now();
for (let seed = first; seed < first + count; seed++) {
  const options = { seed, clients, steps, ...troubles };
  const history = await simulate(laboratory, options);
  if (values.verbose) console.log(history.lines.join('\n'));
  changes += history.changes;
  setAside += history.setAside;
  if (history.failure === null) continue;
  failed += 1;
  // The shortest history takes a minute to find: of the first that fails, the others are told by their seeds.
  if (failed === 1) console.log(await explain(laboratory, options, history));
  else console.log(`seed ${seed} failed: ${history.failure.message}`);
}
const seconds = ((performance.now() - started) / 1_000).toFixed(1);
console.log(
  `${count - failed} of ${count} histories held, ${failed} did not (${seconds} s, ${changes.toLocaleString()} changes in the feeds, ${setAside.toLocaleString()} set aside)`,
);
process.exit(failed === 0 ? 0 : 1);

/** Leaves out ever smaller parts of the history as long as it still fails. */
async function explain(laboratory: Laboratory, options: SimulationOptions, failing: History): Promise<string> {
  let shortest = failing;
  let without = new Set<number>();
  let tries = 0;
  for (let part = Math.ceil(failing.steps.length / 2); part >= 1 && tries < 60; part = Math.floor(part / 2)) {
    for (let from = 0; from < shortest.steps.length && tries < 60;) {
      const candidate = new Set([...without, ...shortest.steps.slice(from, from + part)]);
      tries += 1;
      const history = await simulate(laboratory, { ...options, without: candidate });
      if (history.failure === null) from += part;
      else {
        shortest = history;
        without = candidate;
      }
    }
  }
  const { seed, clients, steps } = options;
  return [
    `seed ${seed} failed: ${failing.failure?.message ?? ''}`,
    `again: npm run simulate -- --seed ${seed} --clients ${clients} --steps ${steps}${values.troubles === undefined ? '' : ` --troubles ${values.troubles}`}`,
    `the shortest history that was found (${shortest.steps.length} of ${failing.steps.length} steps, ${shortest.failure?.message ?? ''}):`,
    ...shortest.lines.map((line) => `  ${line}`),
  ].join('\n');
}

/** Names with commas; without any name, none of them happens. */
function troublesOf(text: string): ReadonlySet<Trouble> {
  const names = text.split(',').filter((name) => name !== '');
  const chosen = TROUBLES.filter((trouble) => names.includes(trouble));
  if (chosen.length === names.length) return new Set(chosen);
  console.error(`--troubles ${text}: give some of ${TROUBLES.join(', ')}.`);
  process.exit(1);
}

function numberOf(text: string, name: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  console.error(`--${name} ${text}: give a whole number above 0.`);
  process.exit(1);
}
