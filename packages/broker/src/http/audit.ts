/** `GET /audit`: the audit log as it stands, a page at a time, for an operator. */
import { MeshpassError } from '@meshpass/identity';
import type { Hono } from 'hono';
import { z } from 'zod';
import type { Store } from '../store/open.ts';
import type { Env } from './decide.ts';
import { isOperator } from './operator-token.ts';
import { refusal } from './refusal.ts';

export interface AuditReadContext {
  readonly store: Store;
  readonly operatorToken: string | undefined;
}

const Page = z.object({
  /** Rows after this one, in the order of writing. */
  after: z.coerce.number().int().nonnegative().default(0),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  session: z.string().max(64).optional(),
  decision: z.string().max(64).optional(),
});

/** Answers `{"rows": [...], "next": SEQ}`; `next` is what to give as `after` for the page that follows. */
export function auditRoute(app: Hono<Env>, { store, operatorToken }: AuditReadContext): void {
  app.get('/audit', async (c) => {
    if (!isOperator(c.env.incoming.headers.authorization, operatorToken))
      return refusal(new MeshpassError('operator_unauthorized', 'This needs the token of an operator.'), undefined);
    const page = Page.safeParse(c.req.query());
    if (!page.success)
      return refusal(
        new MeshpassError('request_malformed', 'Give after, limit (1 to 1000), session, decision, or none of them.'),
        undefined,
      );
    const { after, limit, session, decision } = page.data;
    let query = store.db.selectFrom('audit').selectAll().where('seq', '>', String(after)).orderBy('seq').limit(limit);
    if (session !== undefined) query = query.where('session_id', '=', session);
    if (decision !== undefined) query = query.where('id', '=', decision);
    try {
      const rows = await query.execute();
      return c.json({ rows, next: Number(rows.at(-1)?.seq ?? after) }, 200, { 'cache-control': 'no-store' });
    } catch (cause) {
      return refusal(new MeshpassError('store_unavailable', 'The store does not answer now.', { cause }), undefined);
    }
  });
}
