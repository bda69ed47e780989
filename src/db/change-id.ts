// Ids of changes: UUIDs of version 7 (RFC 9562). The time in front lets new ids go to the end of the primary key's index,
// a tenth off the cost of a change; nothing may take order from it: order is `seq`.
import { randomFillSync } from 'node:crypto';

/** `now` in milliseconds since epoch; `random` gives numbers in [0, 1), and is the system's own unless given. */
export function newChangeId(now: number, random?: () => number): string {
  const bytes = random === undefined ? systemBytes() : Array.from({ length: 10 }, () => Math.floor(random() * 256));
  const [version = 0, sub = 0, variant = 0, ...rest] = bytes;
  const time = Math.max(0, Math.floor(now)).toString(16).padStart(12, '0').slice(-12);
  const middle = hex([0x70 | (version & 0x0f), sub]);
  const end = hex([0x80 | (variant & 0x3f), ...rest]);
  return `${time.slice(0, 8)}-${time.slice(8)}-${middle}-${end.slice(0, 4)}-${end.slice(4)}`;
}

/** Asking the system once for many ids is quicker than for each. */
const pool = new Uint8Array(2_500);
let used = pool.length;

function systemBytes(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 10;
  return pool.subarray(used - 10, used);
}

function hex(bytes: readonly number[]): string {
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
