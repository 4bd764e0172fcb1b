/** Operator routes for reading, exporting and pruning the audit log, and for its signed checkpoints and public keys. */
import { z } from 'zod';
import { AuditQuery, annotateEvent } from '../../audit/index.ts';
import { queryStore } from '../../store/index.ts';
import type { OperatorAction } from '../operator/actions.ts';
import { type AuthorizedRoute, formatOperatorReason, type OperatorRoute, Reason } from '../operator/operator-route.ts';
import type { AdminContext } from '../process.ts';

/** The query parameters of `GET /audit/export`. */
export const ExportQuery = z.object({ after: z.coerce.number().int().nonnegative().default(0) });
/** The body of `POST /audit/prune`. */
export const AuditPruneBody = z.strictObject({ before: z.iso.datetime({ offset: true }), reason: Reason.optional() });

const NO_STORE = { 'cache-control': 'no-store' };

/**
 * Returns the audit log routes. `GET /audit` responds with `{"rows": [...], "next": SEQ}`, where `next` is the value of
 * `after` for the next page. The other routes are `GET /audit/export`, `GET /audit/checkpoint`, `GET /audit/key`, `GET
 * /audit/restores` and `POST /audit/prune`.
 */
export function auditRoutes({ trail, on }: Pick<AdminContext, 'trail' | 'on'>): readonly AuthorizedRoute[] {
  /** Creates a route that reads from the log. Reads are not audited unless they are refused. */
  const read = <Query>(
    path: `/${string}`,
    one: Pick<OperatorRoute<Query>, 'does' | 'schema'>,
    answer: (query: Query) => Promise<Response>,
  ) => on(`GET ${path}`, { ...one, action: 'operator.list' }, ({ body }) => queryStore(answer(body)));
  return [
    read('/audit', { does: reading, schema: AuditQuery }, async (page) => {
      const rows = await trail.page(page);
      return Response.json({ rows, next: rows.at(-1)?.seq ?? page.after }, { headers: NO_STORE });
    }),
    read('/audit/export', { does: 'audit.export', schema: ExportQuery }, async ({ after }) => {
      const lines = await trail.exportAfter(after);
      return new Response(ReadableStream.from(inChunks(lines)), {
        headers: { ...NO_STORE, 'content-type': 'application/x-ndjson' },
      });
    }),
    read('/audit/checkpoint', { does: 'audit.checkpoint' }, async () => text(await trail.checkpoint())),
    read('/audit/key', { does: 'audit.key' }, async () => text(`${trail.verifiers().join('\n')}\n`)),
    read('/audit/restores', { does: 'audit.restores' }, async () =>
      Response.json({ restores: await trail.restores() }, { headers: NO_STORE }),
    ),
    on(
      'POST /audit/prune',
      { does: 'audit.prune', action: 'audit.prune', schema: AuditPruneBody },
      async ({ event, body: { before }, caller, because }) => {
        annotateEvent(event, { reason: formatOperatorReason(caller, because) });
        return await queryStore(trail.prune(new Date(before), event));
      },
    ),
  ];
}

function reading({ last, session, decision }: z.infer<typeof AuditQuery>): OperatorAction {
  if (decision !== undefined) return 'audit.decision';
  if (session !== undefined) return 'audit.session';
  return last === undefined ? 'audit.page' : 'audit.tail';
}

function text(body: string): Response {
  return new Response(body, { headers: { ...NO_STORE, 'content-type': 'text/plain; charset=utf-8' } });
}

const CHUNK = 64 * 1024;

/**
 * Joins lines into chunks. If the store fails partway through, the stream is cut off. Verifying the export then shows
 * that rows are missing.
 */
async function* inChunks(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  let text = '';
  for await (const line of lines) {
    text += line;
    if (text.length < CHUNK) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}
