/** Operator routes for listing and ending sessions. */
import { isPlainText } from '@meshpass/identity';
import { z } from 'zod';
import { annotateEvent, recordAllowed } from '../../audit/index.ts';
import { grantsOf, type Live, type LiveIndex, principalUnder, sessionExpiry } from '../../core/index.ts';
import type { OperatorAction } from '../operator/actions.ts';
import { type AuthorizedRoute, formatOperatorReason, type OperatorCall } from '../operator/operator-route.ts';
import type { AdminContext } from '../process.ts';

type Context = Pick<AdminContext, 'audit' | 'sessions' | 'on'>;

const text = z.string().min(1).max(255);
const SELECTORS = {
  id: text.optional(),
  /** Matches either the login, ignoring case, or the exact subject. */
  user: text.optional(),
  subject: text.optional(),
  /** Matches the workspace's name or key. */
  workspace: text.optional(),
  grant: text.optional(),
};
type Selector = { readonly [K in keyof typeof SELECTORS]?: string | undefined };

/** The maximum number of sessions per page, which is also the default. */
const MOST_SESSIONS = 1_000;
/** The query parameters of `GET /admin/sessions`. */
export const SessionListQuery = z.strictObject({
  ...SELECTORS,
  /** Returns the sessions that follow this id. Sessions are ordered by id. */
  after: text.optional(),
  limit: z.coerce.number().int().min(1).max(MOST_SESSIONS).default(MOST_SESSIONS),
});
/** The body of `POST /admin/sessions/close`. */
export const CloseSessionsBody = z
  .strictObject({
    ...SELECTORS,
    all: z.literal(true).optional(),
    reason: z.string().max(200).refine(isPlainText).optional(),
  })
  .refine(({ reason: _, ...order }) => Object.values(order).filter((value) => value !== undefined).length === 1, {
    message: 'specify exactly one of id, user, subject, workspace, grant, all',
  });

/**
 * Returns the session routes. `GET /admin/sessions` responds with `{"sessions": [...], "next": ID}`. If there are more
 * sessions, `next` is present and is the value of `after` for the next page. `POST /admin/sessions/close` ends the
 * selected sessions.
 */
export function adminRoutes(context: Context): readonly AuthorizedRoute[] {
  const { sessions, on } = context;
  return [
    // Reads are only audited if they are refused.
    on('GET /admin/sessions', { does: listing, action: 'operator.list', schema: SessionListQuery }, async ({ body }) =>
      pageOf(sessions.live, body),
    ),
    on(
      'POST /admin/sessions/close',
      { does: closing, action: 'operator.close', schema: CloseSessionsBody },
      async (call) => await closeSelected(context, call),
    ),
  ];
}

function listing({ after: _, limit: __, ...selector }: z.infer<typeof SessionListQuery>): OperatorAction {
  if (selector.id !== undefined) return 'sessions.show';
  return Object.keys(selector).length > 0 ? 'sessions.find' : 'sessions.list';
}

/** Maps each selector to the action that the operator's role must permit. */
const CLOSES = {
  id: 'sessions.close',
  user: 'sessions.close-user',
  subject: 'sessions.close-user',
  workspace: 'sessions.close-workspace',
  grant: 'sessions.close-grant',
  all: 'sessions.close-all',
} as const satisfies Readonly<Record<string, OperatorAction>>;

function closing(order: z.infer<typeof CloseSessionsBody>): OperatorAction {
  const by = (Object.keys(CLOSES) as (keyof typeof CLOSES)[]).find((name) => order[name] !== undefined);
  // The schema guarantees that there is a selector. Without one, the strictest action would apply.
  return CLOSES[by ?? 'all'];
}

async function closeSelected(
  { audit, sessions }: Context,
  { event, body: { all, reason: _, ...selector }, caller, because }: OperatorCall<z.infer<typeof CloseSessionsBody>>,
): Promise<{ readonly closed: readonly string[]; readonly denied: readonly string[] }> {
  const { id } = selector;
  const matching = select(sessions.live, selector);
  const closed = matching.map((one) => one.session.id);
  annotateEvent(event, {
    target: all ? 'all' : Object.values(selector).find((value) => value !== undefined),
    reason: formatOperatorReason(caller, because),
    // The audit rows of the closed sessions refer to this decision, because thousands of ids would not fit in its row.
    detail: { order: { ...selector, all }, count: closed.length, closed: closed.slice(0, 100) },
  });
  const request = { cause: 'operator', source: event.source, detail: { decision: event.id } } as const;
  await Promise.all(matching.map((one) => sessions.close(one, request)));
  // An attacker with the session's keys may have ended the session already. There is nothing to close in that case, but
  // the session can still be denied.
  const late = id !== undefined && closed.length === 0 ? await sessions.denyLate(id) : undefined;
  const denied = late ? [id!] : [];
  if (late) annotateEvent(event, { detail: { denied } });
  await recordAllowed(audit, event, late?.changes, late?.written);
  return { closed, denied };
}

function pageOf(live: LiveIndex, { after = '', limit, ...selector }: z.infer<typeof SessionListQuery>) {
  // Sessions are ordered by id, which never changes, so sessions that open or end between two requests do not shift the
  // following pages.
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
    (grant === undefined || principalUnder(session, grant) !== undefined)
  );
}

/** Describes a session without its token hash, which is its only secret field. */
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
    grants: grantsOf(session),
    opened_at: session.openedAt,
    expires_at: sessionExpiry(session),
    lease_expires_at: leaseUntil,
  };
}
