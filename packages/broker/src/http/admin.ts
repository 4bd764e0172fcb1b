/** What an operator may ask and order: which sessions live, and that some of them end. On the operator listener. */
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import type { Hono } from 'hono';
import { z } from 'zod';
import { closeSession } from '../session/close.ts';
import { denyLate } from '../session/deny-late.ts';
import type { Live, LiveIndex } from '../session/live.ts';
import type { RecheckContext } from '../session/recheck.ts';
import type { Store } from '../store/open.ts';
import { readJson } from './body.ts';
import { type DecideContext, decide, type Env } from './decide.ts';
import type { Operators } from './operator-token.ts';

export interface AdminContext extends DecideContext {
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

const ListQuery = z.strictObject(SELECTORS);
const CloseOrder = z
  .strictObject({
    ...SELECTORS,
    all: z.literal(true).optional(),
    reason: z.string().max(200).refine(isPlainText).optional(),
  })
  .refine(({ reason: _, ...order }) => Object.values(order).filter((value) => value !== undefined).length === 1, {
    message: 'name exactly one of id, user, subject, workspace, grant, all',
  });

/** `GET /admin/sessions` and `POST /admin/sessions/close`. */
export function adminRoutes(app: Hono<Env>, context: AdminContext): void {
  const { sessions } = context;
  // A read that is allowed leaves no row, as everywhere.
  app.get('/admin/sessions', (c) =>
    decide(context, c, 'operator.list', async (draft, _commit, request) => {
      context.operators.admit(request, draft);
      const query = ListQuery.safeParse(c.req.query());
      if (!query.success)
        throw new MeshpassError('request_malformed', 'Select by id, user, subject, workspace, grant, or not at all.');
      return { sessions: select(sessions.live, query.data).map(describe) };
    }),
  );

  app.post('/admin/sessions/close', (c) =>
    decide(context, c, 'operator.close', async (draft, commit, request) => {
      context.operators.admit(request, draft);
      const { all, reason, ...selector } = await readJson(request, CloseOrder);
      const matching = select(sessions.live, selector);
      const closed = matching.map((one) => one.session.id);
      draft.target = all ? 'all' : Object.values(selector).find((value) => value !== undefined);
      draft.reason = `An operator asked for it${reason ? `: ${reason}` : ''}.`;
      // The rows of the sessions name this decision: a list of thousands would not fit here.
      draft.detail = { order: { ...selector, all }, count: closed.length, closed: closed.slice(0, 100) };
      const detail = { decision: draft.id };
      await Promise.all(
        matching.map((one) => closeSession(sessions, one, { cause: 'operator', source: draft.source, detail })),
      );
      // Whoever has the keys of a session may have ended it, so that it could not be closed.
      const { id } = selector;
      const late =
        id !== undefined && closed.length === 0 && (await denyLate({ ...sessions, store: context.store }, id));
      const denied = late ? [id] : [];
      if (late) draft.detail = { ...draft.detail, denied };
      await commit();
      return { closed, denied };
    }),
  );
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
