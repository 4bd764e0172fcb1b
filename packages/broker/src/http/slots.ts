/** Limits concurrent work in total and per holder, so that no holder can occupy all slots. */
import { MeshpassError } from '@meshpass/identity';

/** Limited slots for concurrent work. */
export type Slots = ReturnType<typeof createSlots>;

/**
 * Creates slots, all of which are free.
 * @param total total number of slots
 * @param perHolder maximum number of slots per holder
 */
export function createSlots(total: number, perHolder: number) {
  const held = new Map<string, number>();
  let taken = 0;
  return {
    /**
     * Takes a slot.
     * @param holder source or session that takes the slot
     * @returns function that releases the slot
     * @throws MeshpassError `overloaded` if all slots, or all of the holder's slots, are taken
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
