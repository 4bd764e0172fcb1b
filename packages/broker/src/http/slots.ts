/** Limits concurrent work in total and per holder, so that a single holder cannot occupy all slots. */
import { MeshpassError } from '@meshpass/identity';

/**
 * Creates slots that are all initially free.
 * @param total the total number of slots
 * @param perHolder the maximum number of slots per holder
 */
export function createSlots(total: number, perHolder: number) {
  const held = new Map<string, number>();
  let taken = 0;
  return {
    /**
     * Takes a slot for the given holder.
     * @param holder the source or session that takes the slot
     * @returns a function that releases the slot
     * @throws MeshpassError `overloaded` if all slots are taken, or the holder has reached its limit
     */
    take: (holder: string) => {
      const mine = held.get(holder) ?? 0;
      if (taken >= total || mine >= perHolder)
        throw new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: 2 });
      taken++;
      held.set(holder, mine + 1);
      return () => {
        taken--;
        const left = held.get(holder)! - 1;
        if (left > 0) held.set(holder, left);
        else held.delete(holder);
      };
    },
  };
}
