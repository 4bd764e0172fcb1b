/**
 * Delivers the leases of all sessions to the broker in batches. Each batch contains only the newest lease of a session.
 */
import { type LeaseAnswer, type LeaseRenewal, MAX_LEASES } from '@meshpass/identity/channel/index';

/** How long a lease may wait for others to join its batch, in milliseconds. */
const GATHER_MS = 250;
/** The maximum number of concurrent requests to the broker. */
const AT_ONCE = 4;

/**
 * Creates the lease batches, which are sent to the broker a few times a second.
 * @param renew sends a batch to the broker
 * @param answered called with the answer to each lease. If a request fails, it is called for every lease of that
 *   request
 */
export function createLeaseBatches(
  renew: (leases: readonly LeaseRenewal[]) => Promise<readonly LeaseAnswer[]>,
  answered: (answer: LeaseAnswer) => void,
  onFailure: (cause: unknown) => void,
) {
  const waiting = new Map<string, string>();
  let underWay = 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    add(sessionId: string, proof: string) {
      waiting.set(sessionId, proof);
      timer ??= setTimeout(flush, GATHER_MS).unref();
    },
    /** Drops a session's lease if it has not been sent yet. */
    remove: (sessionId: string) => waiting.delete(sessionId),
    close: () => clearTimeout(timer),
  };

  function flush(): void {
    timer = undefined;
    while (waiting.size > 0 && underWay < AT_ONCE) {
      const batch: LeaseRenewal[] = [];
      for (const [session_id, proof] of waiting) {
        waiting.delete(session_id);
        batch.push({ session_id, proof });
        if (batch.length === MAX_LEASES) break;
      }
      underWay++;
      void bring(batch).finally(() => {
        underWay--;
        if (waiting.size > 0) timer ??= setTimeout(flush, 0).unref();
      });
    }
  }

  async function bring(batch: readonly LeaseRenewal[]): Promise<void> {
    try {
      for (const answer of await renew(batch)) answered(answer);
    } catch (cause) {
      onFailure(cause);
      for (const { session_id } of batch) answered({ session_id, error_code: 'agent_broker_unreachable' });
    }
  }
}
