// Time as the engine sees it, passed in so that a test can run a year in a second.

export interface Clock {
  /** Milliseconds since epoch. */
  now(): number;
  /** Calls back once; gives a function that cancels. */
  setTimer(callback: () => void, milliseconds: number): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer: (callback, milliseconds) => {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};
