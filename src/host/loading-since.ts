// When this extension's code began to load. Must be the first import of extension.ts, so that loading the rest is measured.
export const loadingSince = performance.now();
