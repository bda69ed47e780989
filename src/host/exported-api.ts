// Version 1 of the API that other extensions get. Whatever they pass is checked by a schema before it goes on; a bad
// argument is refused with an error that names it, and changes nothing.
import * as vscode from 'vscode';
import type { LocalDataApi, LocalDataExports } from '../api.ts';
import type { LocalData } from '../engine/local-data.ts';
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { whyNotReady } from './database.ts';
import { followTouched } from './follow-touched.ts';
import type { Host } from './host.ts';

export function createExports(host: Host): LocalDataExports {
  const changed = new vscode.EventEmitter<readonly Change[]>();
  host.context.subscriptions.push(
    changed,
    followTouched(host.database, (touched) => changed.fire(touched)),
  );
  const api = createApi(host, changed.event);
  return {
    apiVersion: 1,
    getApi: (version: number) => {
      if (version === 1) return api;
      throw new LocalDataError(
        'INVALID_ARGUMENT',
        `Local Data offers version 1 of its API, not version ${String(version)}. Ask for getApi(1), or update Local Data.`,
        { version },
      );
    },
  };
}

/** The schemas are loaded with the first call, not with the extension. */
const load = () => import('./api-arguments.ts');

function createApi(host: Host, onDidChange: vscode.Event<readonly Change[]>): LocalDataApi {
  return {
    recordChange: async (...args) => {
      const { recordArguments, check } = await load();
      const [entityType, entityId, operation, data] = check('recordChange', recordArguments, args);
      return (await engine(host)).recordChange(entityType, entityId, operation, data);
    },
    upsertEntity: async (...args) => {
      const { upsertArguments, check } = await load();
      return (await engine(host)).upsertEntity(...check('upsertEntity', upsertArguments, args));
    },
    deleteEntity: async (...args) => {
      const { entityArguments, check } = await load();
      return (await engine(host)).deleteEntity(...check('deleteEntity', entityArguments, args));
    },
    getEntity: async (...args) => {
      const { entityArguments, check } = await load();
      return (await engine(host)).getEntity(...check('getEntity', entityArguments, args));
    },
    queryEntities: async (...args) => {
      const { queryArguments, check } = await load();
      const [entityType, options] = check('queryEntities', queryArguments, args);
      return (await engine(host)).queryEntities(entityType, options);
    },
    listChanges: async (...args) => {
      const { listArguments, check } = await load();
      const [options] = check('listChanges', listArguments, args);
      return (await engine(host)).listChanges(options);
    },
    listEntityTypes: async () => (await engine(host)).listEntityTypes(),
    registerEntityType: async (...args) => {
      const { registerArguments, check } = await load();
      return (await engine(host)).registerEntityType(...check('registerEntityType', registerArguments, args));
    },
    watchChanges: async (...args) => {
      const { watchArguments, check } = await load();
      const [filter] = check('watchChanges', watchArguments, args);
      return new vscode.Disposable(await (await engine(host)).watchChanges(filter, args[1]));
    },
    onDidChange: (listener) => onDidChange(listener),
    registerSyncTransport: (scheme, open) => new vscode.Disposable(host.transports.register(scheme, open)),
  };
}

async function engine(host: Host): Promise<LocalData> {
  const state = await host.database.whenSettled();
  if (state.kind === 'ready') return state.data;
  throw new LocalDataError('ENGINE_CLOSED', whyNotReady(state).message, { state: state.kind });
}
