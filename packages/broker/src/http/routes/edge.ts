/** Edges in other processes: their feed, and the decisions that they report. */
import type { ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type EdgeDecision, EdgeDecisions, MeshpassError } from '@meshpass/identity';
import {
  CONTROL_HEADER,
  EdgeConfigurationRequest,
  EdgeDraining,
  EdgeLeases,
  MAX_EDGE_LEASES,
  MAX_LEASE_PROOF,
} from '@meshpass/identity/channel/index';
import { sha256Hex } from '@meshpass/identity/hash';
import { type AuditContext, granted, recordGrant, refused } from '../../audit/log/decision.ts';
import { auditRow, newEvent } from '../../audit/log/event.ts';
import type { Journal } from '../../audit/log/journal.ts';
import type { ControlChannel } from '../../channel/control.ts';
import { createRateAllowance } from '../../limits/rate-allowance.ts';
import { groupOf } from '../../limits/source-address.ts';
import type { Feed, Subscription } from '../../session/feed.ts';
import { type LiveIndex, type Owner, ownerOf } from '../../session/live.ts';
import type { Connections } from '../connections.ts';
import { type Authentication, type Route, type RouteContext, route } from '../route.ts';

export interface EdgeContext extends RouteContext {
  readonly feed: Feed;
  readonly journal: Journal;
  readonly liveSessions: LiveIndex;
  /** Whether a bearer is a live token of an edge's ServiceAccount (TokenReview); absent: no edge in other processes. */
  readonly reviewEdgeToken: ((token: string) => Promise<boolean>) | undefined;
  readonly connections: Connections;
  /** What edges bring of control connections. */
  readonly control: Pick<ControlChannel, 'renew' | 'configuration'>;
  /** Open streams, to be ended when the broker stops. */
  readonly streams: Set<ServerResponse>;
}

/** TokenReviews that end in a refusal, of one source: at once, and a second. */
const ATTEMPTS = { burst: 20, perSecond: 0.2 };
/** Requests with one token that say which tunnels drain: at once, and a second. An edge of 10,000 sessions sends ten a second. */
const DRAINING = { burst: 40, perSecond: 10 };
const EDGE_MS = 3_600_000;
const MAX_DECISIONS_BODY = 1024 * 1024;
const MAX_LEASES_BODY = MAX_EDGE_LEASES * (MAX_LEASE_PROOF + 256);
/** An edge that reads slower than this is cut off; it comes back and gets a snapshot. */
const MAX_QUEUED = 8 * 1024 * 1024;

/** What edges ask for and bring. */
export function edgeRoutes(context: EdgeContext): readonly Route[] {
  /** When a source last had a token that was accepted. */
  const edges = new Map<string, number>();
  const announcements = createRateAllowance({ ...DRAINING, clock: context.clock });
  const attempts = createRateAllowance({ ...ATTEMPTS, clock: context.clock });
  const accepts = async (review: (token: string) => Promise<boolean>, token: string, source: string) => {
    // Each wrong token that is another one has the API server asked: it is counted before that, so that many at once are no way
    // around. Where an edge is, strangers must not shut it out.
    const counted = attempts.take(source);
    const isEdges = (edges.get(source) ?? 0) > context.clock() - EDGE_MS;
    if (!counted && !isEdges)
      throw new MeshpassError('too_many_attempts', 'Too many wrong tokens from this address; wait.', {
        retryAfter: 1 / ATTEMPTS.perSecond,
      });
    let refused = false;
    try {
      refused = !(await review(token));
      return !refused;
    } finally {
      // What the API server did not answer says nothing about the token.
      if (counted && !refused) attempts.giveBack(source);
    }
  };
  /** The caller is who its token is of: edges may share an address, and each has a token of its own. */
  const authentication: Authentication<string> = async ({ request, event }) => {
    const { headers, socket } = request;
    const source = groupOf(context.sourceOf(request));
    const token = /^bearer +(\S{1,8192})$/i.exec(headers.authorization ?? '')?.[1];
    if (token === undefined || !context.reviewEdgeToken || !(await accepts(context.reviewEdgeToken, token, source)))
      return refused(
        event,
        new MeshpassError('edge_unauthorized', "A token of the edge's ServiceAccount is required."),
      );
    edges.set(source, context.clock());
    context.connections.belongs(socket);
    return granted({ ...event, known: true }, identityOf(token));
  };

  return [
    route({
      method: 'GET',
      path: '/edge/stream',
      action: 'edge.stream',
      authentication,
      handler: async ({ event, request, response }) => {
        const reason = 'A token of the edge’s ServiceAccount.';
        const written = await recordGrant(context.audit, { ...event, reason });
        if (!written.granted) return written;
        const asked = request.headers[CONTROL_HEADER];
        stream(context, response, { control: asked !== undefined, draining: Number(asked) >= 2 });
        return granted(event, RESPONSE_ALREADY_SENT);
      },
    }),
    route({
      method: 'POST',
      path: '/edge/decisions',
      action: 'edge.stream',
      authentication,
      schema: EdgeDecisions,
      limit: MAX_DECISIONS_BODY,
      handler: async ({ event, body: { decisions } }) => {
        await recordEdgeDecisions({ ...context, ruleOf: context.audit.ruleOf }, decisions);
        return granted(event, undefined);
      },
    }),
    route({
      method: 'POST',
      path: '/edge/leases',
      action: 'edge.stream',
      authentication,
      schema: EdgeLeases,
      limit: MAX_LEASES_BODY,
      handler: async ({ event, body: { leases } }) =>
        granted(event, { answers: await context.control.renew(leases, event.source) }),
    }),
    route({
      method: 'POST',
      path: '/edge/configuration',
      action: 'edge.stream',
      authentication,
      schema: EdgeConfigurationRequest,
      handler: async ({ event, body: { set, digest } }) => {
        const content = context.control.configuration(set, digest);
        if (!content) return refused(event, new MeshpassError('not_found', 'This configuration is not announced.'));
        return granted(event, new Response(new Uint8Array(content), { headers: { 'cache-control': 'no-store' } }));
      },
    }),
    route({
      method: 'POST',
      path: '/edge/draining',
      action: 'edge.stream',
      authentication,
      schema: EdgeDraining,
      handler: async ({ caller, event, body: { sessions } }) => {
        // What is too much is left out: an edge says it again, and one that lies must not flood the others.
        if (announcements.take(caller)) context.feed.draining(sessions);
        return granted(event, undefined);
      },
    }),
  ];
}

/** What was signed of a token: its signature can be written in several ways. */
function identityOf(token: string): string {
  return sha256Hex(token.replace(/\.[^.]*$/, ''));
}

function stream({ feed, streams }: EdgeContext, response: ServerResponse, subscription: Subscription): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  streams.add(response);
  const unsubscribe = feed.subscribe((event) => {
    response.write(`${JSON.stringify(event)}\n`);
    if (response.writableLength > MAX_QUEUED) response.destroy();
  }, subscription);
  response.on('close', () => {
    unsubscribe();
    streams.delete(response);
  });
}

export interface EdgeAuditContext extends Pick<EdgeContext, 'journal' | 'clock' | 'random' | 'liveSessions'> {
  readonly ruleOf?: AuditContext['ruleOf'] | undefined;
}

/**
 * Writes what an edge decided to the audit log. Their ids are the edge's, so a report that is sent twice is written once.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function recordEdgeDecisions(
  { journal, clock, random, liveSessions, ruleOf }: EdgeAuditContext,
  decisions: readonly EdgeDecision[],
): Promise<void> {
  if (decisions.length === 0) return;
  const rows = decisions.map((decision) => {
    const owner = ownerById(liveSessions, decision.session_id);
    const grant = owner?.grants.get(decision.spiffe_id ?? '');
    const event = {
      ...newEvent('tunnel', { source: decision.source }, clock, random),
      id: decision.id,
      sessionId: decision.session_id,
      ...owner?.identity,
      grant,
      rule: grant === undefined ? undefined : ruleOf?.(grant),
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
  await journal.write({ audit: rows });
}

// The end of a session ends its tunnels, and what edges decided before it arrives later.
function ownerById(sessions: LiveIndex, id: string | undefined): Owner | undefined {
  if (id === undefined) return undefined;
  const session = sessions.byId(id)?.session;
  return session ? ownerOf(session) : sessions.endedById(id)?.owner;
}
