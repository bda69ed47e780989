// Entry of the panel's page.
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { ErrorBoundary } from './error-boundary.tsx';
import './panel.css';

const root = document.getElementById('root');
if (root === null) throw new Error('The page of the panel has no #root.');
createRoot(root).render(
  <ErrorBoundary>
    <App />
  </ErrorBoundary>,
);
