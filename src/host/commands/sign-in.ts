// Gives the server that this database has another token, or takes the decision it waits for.
import { defineCommand } from '../command.ts';
import { connectOrDecide } from '../sync/connect-or-decide.ts';
import { requireServer } from '../sync/require-server.ts';
import { askToken } from './connect-to-server.ts';

export const signIn = defineCommand('localData.sync.signIn', async (host, given) => {
  const { status, server } = requireServer(host);
  const { url, space } = server;
  // To decide, the token that is known will do.
  const known = given?.token ?? (status === 'needs-decision' ? await host.sync.keptToken() : undefined);
  const token = known ?? (await askToken(`New token for space ${space} of ${url}`));
  await connectOrDecide(host, { url, token });
});
