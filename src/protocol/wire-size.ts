// How large a message will be, found without making it: what is asked before anything is sent across a boundary.

/**
 * About how many bytes a value takes on the wire; stops counting (and looking) above `cap`, so that a cyclic or huge
 * value costs no more than the cap.
 */
export function wireSize(value: unknown, cap: number): number {
  const left: unknown[] = [value];
  let bytes = 0;
  while (left.length > 0 && bytes <= cap) {
    const next = left.pop();
    bytes += ownSize(next);
    if (typeof next !== 'object' || next === null || ArrayBuffer.isView(next)) continue;
    for (const [key, inner] of Object.entries(next)) {
      if (!Array.isArray(next)) bytes += key.length + 3;
      left.push(inner);
    }
  }
  return bytes;
}

function ownSize(value: unknown): number {
  if (typeof value === 'string') return value.length + 2;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength + 2;
  return typeof value === 'number' ? 8 : 4;
}
