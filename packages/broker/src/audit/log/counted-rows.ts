/** Audit rows of counted refusals, written periodically and once more when the broker stops. */
import type { AuditRow } from './event.ts';
import { type UntilStoredContext, untilStored } from './until-stored.ts';

/**
 * Starts writing the rows. Counting continues while the store is unavailable.
 * @param ms interval, milliseconds
 * @param take removes and returns the rows that are due
 * @returns a function that passes the last rows to the journal and stops
 */
export function writeCounted(context: UntilStoredContext, ms: number, take: () => readonly AuditRow[]): () => void {
  let isWriting = false;
  const write = async () => {
    if (isWriting) return;
    const rows = take();
    if (rows.length === 0) return;
    isWriting = true;
    await untilStored(context, (tx) => tx.audit(...rows));
    isWriting = false;
  };
  const timer = setInterval(write, ms).unref();
  return () => {
    clearInterval(timer);
    void write();
  };
}
