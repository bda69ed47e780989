// Gives the server that this database has another token, or takes the decision it waits for.
import { defineCommand } from '../command.ts';
import { connectOrDecide } from '../sync/connect-or-decide.ts';
import { requireServer } from '../sync/require-server.ts';
import { askToken } from './connect-to-server.ts';

export const signIn = defineCommand('localData.sync.signIn', async (host, given) => {
  const { url, space } = requireServer(host).server;
  const token = given?.token ?? (await askToken(`New token for space ${space} of ${url}`));
  await connectOrDecide(host, { url, token });
});
