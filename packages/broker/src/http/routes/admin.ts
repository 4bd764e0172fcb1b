/** What an operator may ask and order: which sessions live, and that some of them end. On the operator listener. */
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { granted, type Outcome, recordGrant, refused } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import type { OperatorAction } from '../../operator/actions.ts';
import type { OperatorCaller } from '../../operator/caller.ts';
import { denyLate } from '../../session/deny-late.ts';
import { closeSession } from '../../session/lifecycle.ts';
import type { Live, LiveIndex } from '../../session/live.ts';
import type { RecheckContext } from '../../session/recheck.ts';
import type { Store } from '../../store/open.ts';
import { askedBy, type MountedOperatorRoute, operatorRoute } from '../operator-route.ts';
import type { Operators } from '../operators.ts';
import type { RouteContext } from '../route.ts';

export interface AdminContext extends RouteContext {
  readonly store: Store;
  readonly sessions: RecheckContext;
  readonly operators: Operators;
}

const text = z.string().min(1).max(255);
const SELECTORS = {
  id: text.optional(),
  /** Login (without case) or subject, exactly. */
  user: text.optional(),
  subject: text.optional(),
  /** Name or key. */
  workspace: text.optional(),
  grant: text.optional(),
};
type Selector = { readonly [K in keyof typeof SELECTORS]?: string | undefined };

/** Most sessions of a page, and as many as a page has where nothing is asked for. */
const MOST_SESSIONS = 1_000;
export const ListQuery = z.strictObject({
  ...SELECTORS,
  /** Sessions after this id, in the order of ids. */
  after: text.optional(),
  limit: z.coerce.number().int().min(1).max(MOST_SESSIONS).default(MOST_SESSIONS),
});
export const CloseOrder = z
  .strictObject({
    ...SELECTORS,
    all: z.literal(true).optional(),
    reason: z.string().max(200).refine(isPlainText).optional(),
  })
  .refine(({ reason: _, ...order }) => Object.values(order).filter((value) => value !== undefined).length === 1, {
    message: 'name exactly one of id, user, subject, workspace, grant, all',
  });

/**
 * `GET /admin/sessions` answers `{"sessions": [...], "next": ID}`; `next`, where there are more, is what to give as `after` for the page
 * that follows. `POST /admin/sessions/close`.
 */
export function adminRoutes(context: AdminContext): readonly MountedOperatorRoute[] {
  const { sessions, operators } = context;
  return [
    // A read that is allowed leaves no row, as everywhere.
    operatorRoute(
      operators,
      {
        does: {
          among: ['sessions.list', 'sessions.find', 'sessions.show'],
          of: ({ query }) =>
            query.id !== undefined
              ? 'sessions.show'
              : Object.keys(SELECTORS).some((name) => query[name] !== undefined)
                ? 'sessions.find'
                : 'sessions.list',
        },
        ...{ method: 'GET', path: '/admin/sessions', action: 'operator.list' },
      },
      async ({ event, query }) => {
        const asked = ListQuery.safeParse(query);
        if (asked.success) return granted(event, pageOf(sessions.live, asked.data));
        const message =
          'The parameters are id, user, subject, workspace, grant, after and limit (1 to 1000), all optional.';
        return refused(event, new MeshpassError('request_malformed', message));
      },
    ),
    operatorRoute(
      operators,
      {
        does: { among: Object.values(CLOSES), of: ({ body }) => closing(body) },
        ...{ method: 'POST', path: '/admin/sessions/close', action: 'operator.close' },
        schema: CloseOrder,
      },
      async ({ event, body, caller, because }) =>
        await closeSelected(context, event, { ...body, reason: because }, caller),
    ),
  ];
}

/** By what selects the sessions. */
const CLOSES = {
  id: 'sessions.close',
  user: 'sessions.close-user',
  subject: 'sessions.close-user',
  workspace: 'sessions.close-workspace',
  grant: 'sessions.close-grant',
  all: 'sessions.close-all',
} as const satisfies Readonly<Record<string, OperatorAction>>;

function closing(order: z.infer<typeof CloseOrder>): OperatorAction {
  const by = (Object.keys(CLOSES) as (keyof typeof CLOSES)[]).find((name) => order[name] !== undefined);
  // The schema takes no order without one; the strictest terms would hold for it.
  return CLOSES[by ?? 'all'];
}

async function closeSelected(
  { audit, sessions, store }: AdminContext,
  asked: AuditEvent,
  { all, reason, ...selector }: z.infer<typeof CloseOrder>,
  caller: OperatorCaller,
): Promise<Outcome<{ readonly closed: readonly string[]; readonly denied: readonly string[] }>> {
  const { id } = selector;
  const matching = select(sessions.live, selector);
  const closed = matching.map((one) => one.session.id);
  const event = {
    ...asked,
    target: all ? 'all' : Object.values(selector).find((value) => value !== undefined),
    reason: askedBy(caller, reason || undefined),
    // The rows of the sessions name this decision: a list of thousands would not fit here.
    detail: { ...asked.detail, order: { ...selector, all }, count: closed.length, closed: closed.slice(0, 100) },
  };
  const request = { cause: 'operator', source: event.source, detail: { decision: event.id } } as const;
  let late = false;
  try {
    await Promise.all(matching.map((one) => closeSession(sessions, one, request)));
    // Whoever has the keys of a session may have ended it, so that it could not be closed.
    late = id !== undefined && closed.length === 0 && (await denyLate({ ...sessions, store }, id));
  } catch (thrown) {
    return refused(event, thrown);
  }
  const denied = late && id !== undefined ? [id] : [];
  const written = await recordGrant(audit, late ? { ...event, detail: { ...event.detail, denied } } : event);
  return written.granted ? granted(event, { closed, denied }) : written;
}

function pageOf(live: LiveIndex, { after = '', limit, ...selector }: z.infer<typeof ListQuery>) {
  // By id, which a session keeps: what ends or opens between two pages moves none of the others.
  const matching = select(live, selector).filter(({ session }) => session.id > after);
  const page = matching.sort((a, b) => (a.session.id < b.session.id ? -1 : 1)).slice(0, limit);
  return {
    sessions: page.map(describe),
    ...(page.length < matching.length && { next: page.at(-1)!.session.id }),
  };
}

function select(live: LiveIndex, selector: Selector): Live[] {
  return [...live.all()].filter((one) => matches(one, selector));
}

function matches({ session }: Live, { id, user, subject, workspace, grant }: Selector): boolean {
  const { attestation } = session;
  return (
    (id === undefined || session.id === id) &&
    (subject === undefined || attestation.subject === subject) &&
    (user === undefined ||
      attestation.login.toLowerCase() === user.toLowerCase() ||
      attestation.githubUser?.login.toLowerCase() === user.toLowerCase() ||
      attestation.subject === user) &&
    (workspace === undefined || attestation.workspace.key === workspace || attestation.workspace.name === workspace) &&
    (grant === undefined || session.grants.some((held) => held.name === grant))
  );
}

/** Nothing of it is a secret: the hash of its token stays out. */
function describe({ session, leaseUntil }: Live) {
  const { attestation } = session;
  return {
    id: session.id,
    subject: attestation.subject,
    login: attestation.login,
    issuer: attestation.issuer,
    workspace: attestation.workspace.name,
    workspace_key: attestation.workspace.key,
    repository: attestation.workspace.repository?.fullName,
    grants: session.grants.map((grant) => grant.name),
    opened_at: session.openedAt,
    expires_at: session.expiresAt,
    lease_expires_at: leaseUntil,
  };
}
