// Time as the server sees it, passed in so that a simulation can run it in virtual time. The same shape as the engine's.

export interface ServerClock {
  /** Milliseconds since epoch. */
  now(): number;
  /** Calls back once; gives a function that cancels. */
  setTimer(callback: () => void, milliseconds: number): () => void;
}

export const systemServerClock: ServerClock = {
  now: () => Date.now(),
  setTimer: (callback, milliseconds) => {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};
