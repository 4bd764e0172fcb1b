/** How much may be under way at once: in all, and for each of those who ask, so that one cannot take the places of all. */
import { MeshpassError } from '@meshpass/identity';

export interface Slots {
  /**
   * @param holder who takes the place: a source, or a session
   * @returns gives it back
   * @throws MeshpassError `overloaded`
   */
  readonly take: (holder: string) => () => void;
}

/**
 * @param total places in all
 * @param perHolder places of one holder
 */
export function createSlots(total: number, perHolder: number): Slots {
  const held = new Map<string, number>();
  let taken = 0;
  return {
    take: (holder) => {
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
