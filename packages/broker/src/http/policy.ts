/**
 * Plans of the access file over HTTP: on the public listener for CI by its OIDC token, on that of operators for them.
 * docs/policy.md is their prose.
 */
import type { IncomingMessage } from 'node:http';
import { type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import type { Hono } from 'hono';
import { z } from 'zod';
import type { Draft } from '../audit/log/event.ts';
import type { Author, AuthorOf } from '../policy/author.ts';
import type { PolicyChanges } from '../policy/change.ts';
import { Files, listVersions } from '../policy/history.ts';
import type { Store } from '../store/open.ts';
import { readJson } from './body.ts';
import { type DecideContext, decide, type Env } from './decide.ts';
import type { Operators } from './operator-token.ts';

export interface PolicyContext extends DecideContext {
  readonly changes: PolicyChanges;
  readonly store: Store;
  /** Whose job a token is of. */
  readonly authorOf?: AuthorOf | undefined;
  /** Absent: no operator is listened to. */
  readonly operators?: Operators | undefined;
}

const MAX_BODY = 8 * 1024 * 1024;
const main = z.string().min(1).max(255).default('access.yaml');
const PlanOrder = z.strictObject({ files: Files, main });
const accept_unknown = z.boolean().default(false);
const ApplyOrder = z.strictObject({ files: Files, main, plan: z.string().regex(/^[0-9a-f]{64}$/), accept_unknown });
const RollBackOrder = z.strictObject({
  version: z.number().int().positive(),
  reason: z.string().min(1).max(200).refine(isPlainText),
  accept_unknown,
});

/** `POST /policy/plan`, `/policy/apply` and `GET /policy/history`; `/policy/rollback` where operators are listened to. */
export function policyRoutes(app: Hono<Env>, context: PolicyContext): void {
  const { changes, store, operators } = context;
  const authorOf = async (request: IncomingMessage, draft: Draft, wants: 'plan' | 'apply'): Promise<Author> => {
    if (operators) {
      operators.admit(request, draft);
      return { by: 'an operator' };
    }
    const token = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token && context.authorOf) return await context.authorOf(token, wants);
    throw new MeshpassError('operator_unauthorized', 'This needs the token of a job that may plan.');
  };

  // What is only looked at leaves no row, as everywhere.
  app.post('/policy/plan', (c) =>
    decide(context, c, 'policy.plan', async (draft, _commit, request) => {
      draft.subject = (await authorOf(request, draft, 'plan')).by;
      return describe(await changes.plan(await readJson(request, PlanOrder, MAX_BODY)));
    }),
  );
  app.get('/policy/history', (c) =>
    decide(context, c, 'policy.plan', async (draft, _commit, request) => {
      draft.subject = (await authorOf(request, draft, 'plan')).by;
      return { versions: await listVersions(store.db) };
    }),
  );
  app.post('/policy/apply', (c) =>
    decide(context, c, 'policy.apply', async (draft, commit, request) => {
      const author = await authorOf(request, draft, 'apply');
      draft.subject = author.by;
      const { plan, accept_unknown: acceptUnknown, ...kept } = await readJson(request, ApplyOrder, MAX_BODY);
      draft.target = `${kept.main} plan ${plan}`;
      return describe(await changes.apply(kept, plan, author, draft, commit, { acceptUnknown }));
    }),
  );
  if (!operators) return;
  app.post('/policy/rollback', (c) =>
    decide(context, c, 'policy.apply', async (draft, commit, request) => {
      operators.admit(request, draft);
      const author: Author = { by: 'an operator' };
      draft.subject = author.by;
      const { version, reason, accept_unknown: acceptUnknown } = await readJson(request, RollBackOrder);
      draft.target = `version ${version}`;
      return describe(await changes.rollBack(version, reason, author, draft, commit, { acceptUnknown }));
    }),
  );
}

function describe(plan: Plan) {
  const { id, state, resources, reach, people, findings, assumed } = plan;
  return { id, state, resources, reach, people, findings, assumed, refused: refusals(plan).length > 0 };
}
