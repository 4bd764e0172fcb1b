/** Brings the leases of all sessions to the broker: gathered for a moment, the newest of each session only. */
import { type EdgeLease, type EdgeLeaseAnswer, MAX_EDGE_LEASES } from '@meshpass/identity/channel/index';

/** Longest that a lease waits for others, ms. */
const GATHER_MS = 250;
/** Requests under way at once. */
const AT_ONCE = 4;

export interface LeaseBatches {
  add(sessionId: string, proof: string): void;
  /** Forgets what is not under way. */
  remove(sessionId: string): void;
  close(): void;
}

/**
 * @param renew asks the broker
 * @param answered is told of each lease; of all of a request that failed, too
 */
export function createLeaseBatches(
  renew: (leases: readonly EdgeLease[]) => Promise<readonly EdgeLeaseAnswer[]>,
  answered: (answer: EdgeLeaseAnswer) => void,
  onFailure: (cause: unknown) => void,
): LeaseBatches {
  const waiting = new Map<string, string>();
  let underWay = 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    add(sessionId, proof) {
      waiting.set(sessionId, proof);
      timer ??= setTimeout(flush, GATHER_MS).unref();
    },
    remove: (sessionId) => waiting.delete(sessionId),
    close: () => clearTimeout(timer),
  };

  function flush(): void {
    timer = undefined;
    while (waiting.size > 0 && underWay < AT_ONCE) {
      const batch: EdgeLease[] = [];
      for (const [session_id, proof] of waiting) {
        waiting.delete(session_id);
        batch.push({ session_id, proof });
        if (batch.length === MAX_EDGE_LEASES) break;
      }
      underWay++;
      void bring(batch).finally(() => {
        underWay--;
        if (waiting.size > 0) timer ??= setTimeout(flush, 0).unref();
      });
    }
  }

  async function bring(batch: readonly EdgeLease[]): Promise<void> {
    try {
      for (const answer of await renew(batch)) answered(answer);
    } catch (cause) {
      onFailure(cause);
      for (const { session_id } of batch) answered({ session_id, error_code: 'agent_broker_unreachable' });
    }
  }
}
