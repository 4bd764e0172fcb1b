/** Requests for approval in the store. */
import type { ApprovalState } from '@meshpass/identity/approval';
import type { Selectable } from 'kysely';
import { storable } from '../audit/log/event.ts';
import { timestamp } from '../clock/clock.ts';
import type { Store } from '../store/open.ts';
import type { ApprovalRequestsTable } from '../store/tables.ts';
import type { Identity } from './people.ts';
import type { Answer, Emergency, Request } from './request.ts';

export function requestRow(request: Request): Record<string, string | null> {
  const { id, sessionId, issuer, subject, login, workspace, grant, reason, until } = request;
  return {
    id,
    session_id: sessionId,
    issuer: storable(issuer),
    subject: storable(subject),
    login: storable(login),
    workspace: storable(workspace),
    identities: JSON.stringify(request.identities),
    grant_name: grant,
    seconds: String(request.seconds),
    reason: reason === undefined ? null : storable(reason),
    asked_at: timestamp(request.askedAt),
    answer_by: timestamp(request.answerBy),
    needed: String(request.needed),
    state: request.state,
    answers: JSON.stringify(request.answers),
    until: until === undefined ? null : timestamp(until),
    review_state: request.emergency?.state ?? null,
    review: request.emergency ? JSON.stringify(request.emergency) : null,
  };
}

const NEED_REVIEW = ['open', 'overdue', 'objected'];

/** @returns requests that wait for answers, those that were approved and have not ended, and emergencies that need a review */
export async function openRequests(store: Store): Promise<Request[]> {
  const rows = await store.db
    .selectFrom('approval_requests')
    .selectAll()
    .where((is) => is.or([is('state', 'in', ['pending', 'approved']), is('review_state', 'in', NEED_REVIEW)]))
    .execute();
  return rows.map(fromRow);
}

/** @returns the newest requests, of one session, of one id, or of all */
export async function recentRequests(
  store: Store,
  { sessionId, id }: { readonly sessionId?: string | undefined; readonly id?: string | undefined },
  most: number,
): Promise<Request[]> {
  const rows = await store.db
    .selectFrom('approval_requests')
    .selectAll()
    .$if(sessionId !== undefined, (query) => query.where('session_id', '=', sessionId!))
    .$if(id !== undefined, (query) => query.where('id', '=', id!))
    .orderBy('asked_at', 'desc')
    .orderBy('id')
    .limit(most)
    .execute();
  return rows.map(fromRow);
}

/** Forgets what was settled long ago, and needs no review: the audit log has it. @param before Unix seconds */
export async function deleteOldRequests(store: Store, before: number): Promise<void> {
  await store.db
    .deleteFrom('approval_requests')
    .where('asked_at', '<', new Date(before * 1000))
    .where('state', 'not in', ['pending', 'approved'])
    .where((is) => is.or([is('review_state', 'is', null), is('review_state', 'not in', NEED_REVIEW)]))
    .execute();
}

/** @returns whether a message that counts once has been taken, whatever was decided by it */
export async function isUsed({ db }: Store, key: string): Promise<boolean> {
  return (await db.selectFrom('proof_replay').select('key').where('key', '=', key).executeTakeFirst()) !== undefined;
}

function fromRow(row: Selectable<ApprovalRequestsTable>): Request {
  return {
    id: row.id,
    sessionId: row.session_id,
    ...{ issuer: row.issuer, subject: row.subject, login: row.login, workspace: row.workspace },
    identities: JSON.parse(row.identities) as Identity[],
    grant: row.grant_name,
    seconds: row.seconds,
    ...(row.reason !== null && { reason: row.reason }),
    ...{ askedAt: unix(row.asked_at), answerBy: unix(row.answer_by), needed: row.needed },
    state: row.state as ApprovalState,
    answers: JSON.parse(row.answers) as Answer[],
    ...(row.until !== null && { until: unix(row.until) }),
    ...(row.review !== null && { emergency: JSON.parse(row.review) as Emergency }),
  };
}

function unix(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
