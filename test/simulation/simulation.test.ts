// A fixed set of histories, for every run of the tests; `npm run simulate` runs as many as one likes. And that a seed gives the
// same history every time, without which a failure could not be looked into.
import assert from 'node:assert/strict';
import { Laboratory } from './laboratory.ts';
import { simulate } from './simulation.ts';

const FIRST_SEED = 1_000;
const HISTORIES = 40;
const OPTIONS = { clients: 3, steps: 80 };

describe('simulated histories', function () {
  // One that ran on beside the next would disturb it.
  this.timeout(300_000);
  let laboratory: Laboratory;

  before(async () => {
    laboratory = await Laboratory.open();
  });
  after(() => laboratory[Symbol.asyncDispose]());

  it('are the same for the same seed', async () => {
    const [one, other] = [
      await simulate(laboratory, { ...OPTIONS, seed: 7 }),
      await simulate(laboratory, { ...OPTIONS, seed: 7 }),
    ];
    assert.deepEqual(one.lines, other.lines);
    assert.equal(one.changes, other.changes);
  });

  for (let seed = FIRST_SEED; seed < FIRST_SEED + HISTORIES; seed++) {
    it(`end with every replica like the server and every queue empty or explained (scenario 30, seed ${seed})`, async () => {
      const { failure, lines } = await simulate(laboratory, { ...OPTIONS, seed });
      if (failure === null) return;
      const again = `npm run simulate -- --seed ${seed} --clients ${OPTIONS.clients} --steps ${OPTIONS.steps}`;
      assert.fail(`${failure.message}\n${again}\n${lines.join('\n')}`);
    });
  }
});
