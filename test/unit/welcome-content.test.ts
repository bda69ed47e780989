// What the Changes view says in states that pass too quickly to be looked at in a window.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

interface Welcome {
  readonly view: string;
  readonly when: string;
  readonly contents: string;
}

describe('the welcome content of the Changes view', () => {
  const { contributes } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    contributes: { viewsWelcome: Welcome[] };
  };
  const said = (state: string): string =>
    contributes.viewsWelcome.find(({ when }) => when === `localData.state == ${state}`)?.contents ?? '';

  it('says while a database is opened that it is, and offers the log', () => {
    assert.match(said('starting'), /Opening the database/);
    assert.match(said('starting'), /command:localData\.showLog/);
  });

  it('offers a closed database to be opened again', () => {
    assert.match(said('closed'), /command:localData\.tryAgain/);
  });
});
