// Entry of the Entities panel's page.
import { createRoot } from 'react-dom/client';
import '@vscode/codicons/dist/codicon.css';
import './panel.css';
import { App } from './app.tsx';
import { CrashBoundary } from './crash-boundary.tsx';
import { HostConnection } from './host-connection.ts';
import { PanelModel, PanelProvider } from './panel-context.ts';
import { ViewKeeper } from './view-keeper.ts';

const host = new HostConnection();
const keeper = new ViewKeeper(host);
// Before the model: what was kept is in place when the model shows the database.
host.listen((news) => {
  if (news.kind === 'state') keeper.follow(news.state);
});
const model = new PanelModel(host);

const root = document.getElementById('root');
if (root === null) throw new Error('The page has no #root to show the panel in.');
createRoot(root).render(
  <CrashBoundary host={host} onReload={() => model.reconnect()}>
    <PanelProvider value={model}>
      <App />
    </PanelProvider>
  </CrashBoundary>,
);
host.ready();
