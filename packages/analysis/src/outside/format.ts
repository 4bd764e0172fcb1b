import type { OutsideChange } from './compare.ts';
import { formatWitness } from './describe.ts';

/** Formats a change: the calls, the destination, the witness, and what decides in each state. */
export function formatOutsideChange({ kind, destination, what, witness, before, after }: OutsideChange): string {
  return [
    `anyone outside ${kind} ${what}, to ${destination}`,
    `  for example ${formatWitness(witness)}`,
    `  before: ${before.reason}`,
    `  after:  ${after.reason}`,
  ].join('\n');
}
