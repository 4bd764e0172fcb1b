/** The audit log on the operator listener: a page, the whole of it, a signed checkpoint, the key, and retention. */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import { z } from 'zod';
import type { AuditKey } from '../../audit/checkpoint/key.ts';
import { exportLines, exportLog } from '../../audit/export/export.ts';
import type { Chain } from '../../audit/log/chain.ts';
import type { CheckpointSigner } from '../../audit/log/checkpoint-signer.ts';
import { granted, refused } from '../../audit/log/decision.ts';
import { prune } from '../../audit/log/prune.ts';
import { sealedRow } from '../../audit/log/rows.ts';
import type { OperatorAction } from '../../operator/actions.ts';
import type { Store } from '../../store/open.ts';
import { askedBy, type ByParameters, type MountedOperatorRoute, operatorRoute, Reason } from '../operator-route.ts';
import type { Operators } from '../operators.ts';
import type { RouteContext } from '../route.ts';

export interface AuditRoutesContext extends RouteContext {
  readonly store: Store;
  readonly operators: Operators;
  readonly key: AuditKey;
  readonly chain: Chain;
  readonly checkpoints: CheckpointSigner;
  readonly retainSeconds: number;
}

export const AuditPage = z.object({
  /** Rows after this one, in the order of writing. */
  after: z.coerce.number().int().nonnegative().default(0),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  /** The last ones instead, as many as this. */
  last: z.coerce.number().int().min(1).max(1000).optional(),
  session: z.string().max(64).optional(),
  decision: z.string().max(64).optional(),
});
export const ExportFrom = z.object({ after: z.coerce.number().int().nonnegative().default(0) });
export const PruneOrder = z.strictObject({ before: z.iso.datetime({ offset: true }), reason: Reason.optional() });

const NO_STORE = { 'cache-control': 'no-store' };

/**
 * `GET /audit` answers `{"rows": [...], "next": SEQ}`; `next` is what to give as `after` for the page that follows.
 * `GET /audit/export`, `GET /audit/checkpoint`, `GET /audit/key`, `GET /audit/restores`, `POST /audit/prune`.
 */
export function auditRoutes(context: AuditRoutesContext): readonly MountedOperatorRoute[] {
  const { store, key, checkpoints, operators } = context;
  return [
    read(operators, '/audit', PAGES, async (query) => {
      const page = parse(
        AuditPage,
        query,
        'The parameters are after, limit (1 to 1000), last, session and decision, all optional.',
      );
      const rows = await readPage(store, page);
      return Response.json({ rows, next: rows.at(-1)?.seq ?? page.after }, { headers: NO_STORE });
    }),
    read(operators, '/audit/export', 'audit.export', async (query) => {
      const { after } = parse(ExportFrom, query, 'The only parameter is after, and it is optional.');
      const lines = exportLines(await exportLog({ db: store.db, key, checkpoints }, after));
      return new Response(inChunks(lines), { headers: { ...NO_STORE, 'content-type': 'application/x-ndjson' } });
    }),
    read(operators, '/audit/checkpoint', 'audit.checkpoint', async () => text((await checkpoints.sign()).note)),
    read(operators, '/audit/key', 'audit.key', async () =>
      text(key.verifiers.map((verifier) => `${verifier.text}\n`).join('')),
    ),
    read(operators, '/audit/restores', 'audit.restores', async () => {
      const rows = await store.db.selectFrom('audit_restores').selectAll().orderBy('epoch').execute();
      const restores = rows.map(({ epoch, note, time }) => ({ epoch, note, time: time.toISOString() }));
      return Response.json({ restores }, { headers: NO_STORE });
    }),
    operatorRoute(
      operators,
      { does: 'audit.prune', method: 'POST', path: '/audit/prune', action: 'audit.prune', schema: PruneOrder },
      async ({ event, body: { before }, caller, because }) =>
        await prune(context, new Date(before), { ...event, reason: askedBy(caller, because) }),
    ),
  ];
}

const PAGES: ByParameters<unknown> = {
  among: ['audit.page', 'audit.tail', 'audit.session', 'audit.decision'],
  of: ({ query: { last, session, decision } }) => {
    if (decision !== undefined) return 'audit.decision';
    if (session !== undefined) return 'audit.session';
    return last === undefined ? 'audit.page' : 'audit.tail';
  },
};

/** A read that is allowed leaves no row, as everywhere. */
function read(
  operators: Operators,
  path: string,
  does: OperatorAction | ByParameters<unknown>,
  answer: (query: Readonly<Record<string, string>>) => Promise<Response>,
): MountedOperatorRoute {
  return operatorRoute(operators, { does, method: 'GET', path, action: 'operator.list' }, async ({ event, query }) => {
    try {
      return granted(event, await answer(query));
    } catch (thrown) {
      return refused(event, thrown instanceof MeshpassError ? thrown : unavailable(thrown));
    }
  });
}

function text(body: string): Response {
  return new Response(body, { headers: { ...NO_STORE, 'content-type': 'text/plain; charset=utf-8' } });
}

async function readPage(store: Store, { after, limit, last, session, decision }: z.infer<typeof AuditPage>) {
  let query = store.db
    .selectFrom('audit')
    .selectAll()
    .where('seq', '>', String(after))
    // What was pruned is gone, also while it is being deleted.
    .where('seq', '>', sql<string>`(select coalesce(max(size), 0) from audit_cuts)`);
  if (session !== undefined) query = query.where('session_id', '=', session);
  if (decision !== undefined) query = query.where('id', '=', decision);
  const rows =
    last === undefined
      ? await query.orderBy('seq').limit(limit).execute()
      : (await query.orderBy('seq', 'desc').limit(last).execute()).reverse();
  return rows.map(sealedRow);
}

function parse<T>(schema: z.ZodType<T>, query: Readonly<Record<string, string>>, message: string): T {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  throw new MeshpassError('request_malformed', message);
}

function unavailable(cause: unknown): MeshpassError {
  return new MeshpassError('store_unavailable', 'The store does not answer.', { cause });
}

const CHUNK = 64 * 1024;

/** A store that fails in the middle breaks the answer off; whoever verifies it finds it cut. */
function inChunks(lines: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    pull: async (controller) => {
      let text = '';
      while (text.length < CHUNK) {
        const { done, value } = await lines.next();
        if (done) {
          if (text !== '') controller.enqueue(encoder.encode(text));
          return controller.close();
        }
        text += value;
      }
      controller.enqueue(encoder.encode(text));
    },
    cancel: async () => {
      await lines.return(undefined);
    },
  });
}
