// Who carries the sync protocol to addresses that are neither http nor https, by the scheme of the address. Stays over
// restarts of the engine; loads with the extension, so that it imports nothing but errors.
import { LocalDataError } from '../protocol/errors.ts';
import type { OpenTransport } from '../sync/transport.ts';

const BUILT_IN = ['http', 'https'];

export class TransportRegistry {
  readonly #byScheme = new Map<string, OpenTransport>();
  readonly #listeners = new Set<(scheme: string) => void>();

  /** Gives a function that takes it back; what was opened by it is closed then. */
  register(scheme: string, open: OpenTransport): () => void {
    checkScheme(scheme);
    if (typeof open !== 'function')
      throw invalid('open', 'The second argument must be a function that opens a transport.');
    if (BUILT_IN.includes(scheme) || this.#byScheme.has(scheme)) {
      throw invalid('scheme', `There is a transport for "${scheme}:" already. Register yours for another scheme.`);
    }
    this.#byScheme.set(scheme, open);
    this.#tell(scheme);
    return () => {
      if (this.#byScheme.get(scheme) !== open) return;
      this.#byScheme.delete(scheme);
      this.#tell(scheme);
    };
  }

  get(scheme: string): OpenTransport | undefined {
    return this.#byScheme.get(scheme);
  }

  /** Called with the scheme whenever its transport came or went. */
  onChange(listener: (scheme: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #tell(scheme: string): void {
    for (const listener of this.#listeners) listener(scheme);
  }
}

function checkScheme(scheme: unknown): void {
  if (typeof scheme === 'string' && /^[a-z][a-z0-9+.-]{0,49}$/.test(scheme)) return;
  throw invalid(
    'scheme',
    'The scheme must be a text of up to 50 of a-z 0-9 + . - that begins with a letter, without a colon, such as "supabase".',
  );
}

function invalid(field: string, message: string): LocalDataError {
  return new LocalDataError('INVALID_ARGUMENT', `registerSyncTransport: ${message}`, { field });
}
