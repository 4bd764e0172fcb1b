/** How the heap of a broker's process grows. */
import { setFlagsFromString } from 'node:v8';

/** Percent by which garbage may make the old generation larger than what was live in it, before it is collected. */
const GROWTH = 20;

/**
 * To be called once, as the process starts, by whoever owns the process. On a machine with much memory V8 lets the old
 * generation grow to several times of what lives in it. A broker of many sessions lives on little, and each connection that
 * it closes leaves some garbage there.
 */
export function growHeapSlowly(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH}`);
}
