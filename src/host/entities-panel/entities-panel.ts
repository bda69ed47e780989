// Opens the Entities panel.
import type { EntitiesPanel, HostBase } from '../host.ts';

export function createEntitiesPanel({ log }: HostBase): EntitiesPanel {
  return {
    open: (target) => log.info(`Entities panel: ${JSON.stringify(target ?? {})}`),
    dispose: () => {},
  };
}
