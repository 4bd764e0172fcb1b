/**
 * Routes for edges that run in other processes: the event feed, decision reports, lease renewals, configurations and
 * draining.
 */
import type { ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { MeshpassError, sha256Hex, sourceGroup } from '@meshpass/identity';
import {
  CONTROL_HEADER,
  EdgeConfigurationRequest,
  type EdgeDecision,
  EdgeDecisions,
  EdgeDraining,
  type EdgeEvent,
  LeaseRequest,
  MAX_LEASE_PROOF_LENGTH,
  MAX_LEASES,
} from '@meshpass/identity/channel';
import { annotateEvent, auditRow, createAuditEvent, identityMembers, recordAllowed } from '../../audit/index.ts';
import { createGuessLimiter, createRateAllowance } from '../../base/index.ts';
import { type Authentication, type Route, route } from '../../http/index.ts';
import type { SessionContext } from '../session/context.ts';

/** Limits rejected tokens per source address (burst size, and refill rate per second). */
const WRONG_TOKENS = { burst: 20, perSecond: 0.2 };
/**
 * Limits how often an edge may announce draining tunnels (burst size, and refill rate per second). Edges are told apart
 * by their tokens. An edge with 10,000 sessions sends ten announcements per second.
 */
const DRAINING = { burst: 40, perSecond: 10 };
/**
 * Limits how many lease proofs an edge may forward (burst size, and refill rate per second). An edge with 10,000
 * sessions forwards 667 proofs per second. After a change that affects all sessions, they all send a proof at once.
 */
const PROOFS = { burst: 20_000, perSecond: 1_500 };
const MAX_DECISIONS_BODY = 1024 * 1024;
const MAX_LEASES_BODY = MAX_LEASES * (MAX_LEASE_PROOF_LENGTH + 256);
/**
 * The maximum number of bytes to queue for a slow edge. If the queue grows larger than this, the edge is disconnected.
 * It then reconnects and receives a snapshot.
 */
const MAX_QUEUED = 8 * 1024 * 1024;

/**
 * Creates the routes for edges.
 * @param streams the open event streams, which the broker ends when it stops
 */
export function edgeRoutes(context: SessionContext, streams: Set<ServerResponse>): readonly Route[] {
  const announcements = createRateAllowance({ ...DRAINING, clock: context.clock });
  const proofs = createRateAllowance({ ...PROOFS, clock: context.clock });
  const guesses = createGuessLimiter<boolean>({
    verdict: (isAccepted) => (isAccepted ? 'accepted' : 'refused'),
    perSource: WRONG_TOKENS,
    exemptKnown: true,
    refusedMs: 10_000,
    clock: context.clock,
  });
  /** Identifies edges by their tokens. Edges may share an address, but each of them has a token of its own. */
  const authentication: Authentication<string> = async ({ request, event }) => {
    const { headers, socket } = request;
    const source = sourceGroup(context.sourceOf(request));
    const token = /^bearer +(\S{1,8192})$/i.exec(headers.authorization ?? '')?.[1];
    const { reviewEdgeToken: review } = context;
    if (token === undefined || !review || !(await guesses.verify(token, source, () => review(token))))
      throw new MeshpassError('edge_unauthorized', "The edge's ServiceAccount token is required.");
    guesses.trust(source);
    context.connections.belongs(socket);
    annotateEvent(event, { known: true });
    return identityOf(token);
  };

  return [
    route({
      at: 'GET /edge/stream',
      action: 'edge.stream',
      authentication,
      handler: async ({ event, request, response }) => {
        annotateEvent(event, { reason: 'The edge authenticated with its ServiceAccount token.' });
        await recordAllowed(context.audit, event);
        const level = request.headers[CONTROL_HEADER];
        response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
        streams.add(response);
        const send = (one: EdgeEvent) => {
          response.write(`${JSON.stringify(one)}\n`);
          if (response.writableLength > MAX_QUEUED) response.destroy();
        };
        const wanted = { control: level !== undefined, draining: Number(level) >= 2 };
        const unsubscribe = context.feed.subscribe(send, wanted);
        response.on('close', () => {
          unsubscribe();
          streams.delete(response);
        });
        return RESPONSE_ALREADY_SENT;
      },
    }),
    route({
      at: 'POST /edge/decisions',
      action: 'edge.stream',
      authentication,
      schema: EdgeDecisions,
      limit: MAX_DECISIONS_BODY,
      handler: async ({ body: { decisions } }) => await recordEdgeDecisions(context, decisions),
    }),
    route({
      at: 'POST /leases',
      action: 'edge.stream',
      accepts: ({ headers }) => headers.authorization !== undefined,
      authentication,
      schema: LeaseRequest,
      limit: MAX_LEASES_BODY,
      handler: async ({ caller, event, body: { leases } }) => {
        const beyond = leases.findIndex(() => !proofs.take(caller));
        const within = beyond < 0 ? leases : leases.slice(0, beyond);
        const refusals = leases
          .slice(within.length)
          .map(({ session_id }) => ({ session_id, error_code: 'overloaded' }));
        return { answers: [...(await context.control.renew(within, event.source)), ...refusals] };
      },
    }),
    route({
      at: 'POST /edge/configuration',
      action: 'edge.stream',
      authentication,
      schema: EdgeConfigurationRequest,
      handler: async ({ body: { set, digest } }) => {
        const content = context.control.configuration(set, digest);
        if (!content) throw new MeshpassError('not_found', 'This configuration was not announced.');
        return new Response(new Uint8Array(content), { headers: { 'cache-control': 'no-store' } });
      },
    }),
    route({
      at: 'POST /edge/draining',
      action: 'edge.stream',
      authentication,
      schema: EdgeDraining,
      handler: async ({ caller, body: { sessions } }) => {
        // Drop excess announcements. An honest edge repeats them, and a malicious edge must not flood the others.
        if (announcements.take(caller)) context.feed.draining(sessions);
      },
    }),
  ];
}

/** Hashes only the signed part of a token, because the same signature can be encoded in more than one way. */
function identityOf(token: string): string {
  return sha256Hex(token.replace(/\.[^.]*$/, ''));
}

/**
 * Records an edge's decisions in the audit log. The edge assigns their ids, so a decision that is reported more than
 * once is written only once.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function recordEdgeDecisions(
  { journal, clock, random, live, audit }: SessionContext,
  decisions: readonly EdgeDecision[],
): Promise<void> {
  if (decisions.length === 0) return;
  const rows = decisions.map((decision) => {
    const id = decision.session_id ?? '';
    // An edge may report a decision after its session has already ended.
    const session = live.byId(id)?.session ?? live.ended(id);
    const grant = session?.principals.find(({ spiffeId }) => spiffeId === decision.spiffe_id)?.grant;
    const event = {
      ...createAuditEvent('tunnel', { source: decision.source }, clock, random),
      id: decision.id,
      sessionId: decision.session_id,
      ...(session && identityMembers(session.attestation)),
      grant,
      rule: grant === undefined ? undefined : audit.ruleOf?.(grant),
      target: decision.target,
      detail: {
        spiffeId: decision.spiffe_id,
        sni: decision.sni,
        bytesIn: decision.bytes_in,
        bytesOut: decision.bytes_out,
        ms: decision.duration_ms,
      },
    };
    return auditRow(event, decision.outcome, decision.reason, decision.code, decision.at);
  });
  await journal.transaction((tx) => tx.audit(...rows));
}
