/**
 * Keeps the open requests in memory, exactly as they are in the store. These are pending requests, approved requests
 * whose session still has the grant, and emergencies that need a review. A change appears here only after it has been
 * stored together with its audit row, so a broker that takes over starts from the same state.
 */
import type { Insertable } from 'kysely';
import {
  type AuditContext,
  type AuditEvent,
  annotateEvent,
  auditRow,
  type CollectChanges,
  createAuditEvent,
  prepareAllowed,
  recordAllowed,
} from '../../audit/index.ts';
import type { Clock, Random } from '../../base/index.ts';
import type { Write } from '../../core/index.ts';
import type { Tables } from '../../store/index.ts';
import { type GrantRequest, isOpenRequest, needsReview } from './request.ts';
import { ADD_DELIVERIES, requestRow, UPSERT_REQUESTS } from './rows.ts';

/** The registry of open requests. */
export type ApprovalRegistry = ReturnType<typeof createApprovalRegistry>;

/**
 * Creates the registry.
 * @param tell builds the webhook messages that announce the state of a request
 * @param open the open requests, as read from the store
 */
export function createApprovalRegistry(
  { audit, clock, random }: { readonly audit: AuditContext; readonly clock: Clock; readonly random: Random },
  tell: (request: GrantRequest) => readonly Insertable<Tables['approval_deliveries']>[],
  open: readonly GrantRequest[],
) {
  const byId = new Map<string, GrantRequest>();
  const put = (request: GrantRequest) => {
    if (isOpenRequest(request) || needsReview(request)) byId.set(request.id, request);
    else byId.delete(request.id);
  };
  for (const one of open) put(one);
  const changesOf = (request: GrantRequest): CollectChanges => {
    const deliveries = tell(request);
    return (tx) => {
      tx.write(UPSERT_REQUESTS, requestRow(request));
      tx.write(ADD_DELIVERIES, ...deliveries);
    };
  };

  return {
    get: (id: string) => byId.get(id),
    all: () => byId.values(),
    /**
     * Records a decision and updates the request in the same transaction.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    decide: async (event: AuditEvent, request: GrantRequest): Promise<GrantRequest> => {
      await recordAllowed(audit, event, changesOf(request), () => put(request));
      return request;
    },
    /**
     * Records a decision that adds a grant, in the same transaction that adds the grant to the session.
     * @param give adds the grant. It calls `decided` with the time at which the grant ends, and writes the result in
     *   the same transaction as the grant
     * @throws any error from `give`, unless the decision was written
     */
    decideWith: async (
      event: AuditEvent,
      request: GrantRequest,
      give: (decided: (until: number) => Write) => Promise<void>,
    ): Promise<GrantRequest> => {
      let decided = request;
      await give((until) => {
        const ending = { ...request, until };
        decided = ending;
        annotateEvent(event, { detail: { until } });
        return prepareAllowed(audit, event, changesOf(ending), () => put(ending));
      }).catch((thrown: unknown) => {
        // If the decision was written but the session lost the grant immediately, the sweep ends the request.
        if (!event.written) throw thrown;
      });
      return decided;
    },
    /**
     * Records that a request has expired or ended on its own, or that its review is overdue.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    end: async (
      request: GrantRequest,
      action: 'approval.expire' | 'approval.end' | 'approval.overdue',
      reason: string,
    ) => {
      const { person, workspace, session: sessionId, grant, id } = request;
      const made = createAuditEvent(action, {}, clock, random);
      const event = { ...made, ...person, workspace, sessionId, grant, target: id };
      const row = auditRow(event, 'ended', reason, undefined, clock());
      const changes = changesOf(request);
      await audit.journal.transaction(
        (tx) => {
          changes(tx);
          tx.audit(row);
        },
        () => put(request),
      );
    },
  };
}
