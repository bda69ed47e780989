// What the walk does with a server of one's own, in the database that the first half left: connect to it, sign in again when
// it no longer accepts the token, and decide when it was reset.
import type { Page } from 'playwright-core';
import type { Workbench } from '../ui/workbench.ts';
import type { OwnServer } from './own-server.ts';
import type { WalkReport } from './report.ts';
import { type ScreenFacts, readScreen, seeRepaired, server, workOffline } from './steps.ts';

/** That of the demo: the database belongs to it. */
const SPACE = 'demo';
const ANOTHER_HISTORY = 'The server has another history';

export async function serverSteps(workbench: Workbench, own: OwnServer, report: WalkReport): Promise<ScreenFacts> {
  await report.step('Connect to a server of one’s own: it has another history', () => connect(workbench, own));
  await report.step('Start Anew: nothing here is lost', () => startAnew(workbench));
  await report.step('The server gets another secret: sign-in needed, and what is written waits', async () => {
    await own.restartWithAnotherSecret();
    return writeSignedOut(workbench);
  });
  await report.step('Sign In… with a new token: what waited is sent', () => signIn(workbench, own));
  await report.step('The server is reset: it needs a decision', async () => {
    await own.restartEmpty();
    return seeReset(workbench);
  });
  await report.step('Decide… asks what is to become of it', () => beginDecision(workbench));
  await report.step('Start Anew with the new server', () => startAnew(workbench));
  await report.step('Work offline, and see that the repaired task is as it was', async () => {
    await workOffline(workbench);
    // The list follows a little later than the status bar; what it counts is compared.
    await workbench.row(/Server\s*You work offline/).waitFor();
    return seeRepaired(workbench);
  });
  return readScreen(workbench);
}

async function connect(workbench: Workbench, own: OwnServer): Promise<Page> {
  await workbench.runCommand('Connect to Server…');
  await workbench.fillInput('Address of the server', own.url);
  await workbench.fillInput(/Token for/, own.token(SPACE));
  await workbench.dialog().getByText(ANOTHER_HISTORY).waitFor();
  return workbench.page;
}

async function startAnew(workbench: Workbench): Promise<Page> {
  await workbench.answer('Start Anew');
  await server(workbench, 'In sync');
  return workbench.page;
}

async function writeSignedOut(workbench: Workbench): Promise<Page> {
  await server(workbench, 'Sign-in needed');
  await workbench.runCommand('Record Change…');
  await workbench.pick('User');
  await workbench.pick('insert');
  await workbench.fillInput('Id of the new User', 'journeyman');
  await workbench.fillInput('Payload of User', '{ "name": "Journeyman", "email": "journeyman@example.com" }');
  await server(workbench, '1 waiting');
  return workbench.page;
}

async function signIn(workbench: Workbench, own: OwnServer): Promise<Page> {
  await chooseOfServer(workbench, 'Sign In…');
  await workbench.fillInput(/New token for space demo/, own.token(SPACE));
  await server(workbench, 'In sync');
  return workbench.page;
}

async function seeReset(workbench: Workbench): Promise<Page> {
  await server(workbench, 'Needs your decision');
  return workbench.page;
}

async function beginDecision(workbench: Workbench): Promise<Page> {
  await chooseOfServer(workbench, 'Decide…');
  await workbench.dialog().getByText(ANOTHER_HISTORY).waitFor();
  return workbench.page;
}

/** What helps stands first in what the status bar item shows. */
async function chooseOfServer(workbench: Workbench, title: string): Promise<void> {
  await workbench.serverItem().click();
  await workbench.pick(title);
}
