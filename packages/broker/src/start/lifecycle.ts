/** The rows of the audit log that say when a broker process started and stopped. */
import { auditRow, newEvent } from '../audit/log/event.ts';
import type { Journal } from '../audit/log/journal.ts';
import type { AdmittedLog } from '../audit/restore/admit.ts';
import type { LiveIndex } from '../session/live.ts';
import type { Restored } from '../session/restore.ts';
import type { Store } from '../store/open.ts';
import type { Base } from './parts.ts';

/** @returns records the stop */
export async function recordStart(
  { config, clock, random, failed }: Base,
  {
    store,
    journal,
    live,
    restored,
    admitted,
  }: { store: Store; journal: Journal; live: LiveIndex; restored: Restored; admitted: AdmittedLog },
): Promise<() => Promise<void>> {
  const record = async (action: 'broker.start' | 'broker.stop', detail: Record<string, unknown>) => {
    const event = { ...newEvent(action, {}, clock, random), detail };
    await journal.write({ audit: [auditRow(event, 'allowed', 'The broker process.', undefined, clock())] });
  };
  const { newest } = admitted.known;
  await record('broker.start', {
    ...{ store: store.kind, epoch: store.epoch, restored: restored.sessions.length },
    after: store.before?.instance,
    deny_ended: config.denyEnded,
    // Never left out: it tells this log from one of a version that had no checkpoint outside of the store (audit/restore/adopt.ts).
    checkpoint: newest ? { size: newest.checkpoint.size, from: newest.sink } : null,
  });
  return () => record('broker.stop', { sessions: live.size() }).catch(failed('store'));
}
