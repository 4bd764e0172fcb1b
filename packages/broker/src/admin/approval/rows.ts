/** Reads and writes approval requests in the store. */
import type { ApprovalState } from '@meshpass/identity/approval';
import type { Insertable, Selectable } from 'kysely';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import { queryStore, type Store, statement, type Tables, toStorableText } from '../../store/index.ts';
import type { Identity } from './people.ts';
import { type Answer, type Emergency, type GrantRequest, UNREVIEWED_STATES } from './request.ts';

/**
 * Inserts or updates requests. Once a request is settled, only its review can change, because an emergency may be
 * reviewed after its grant has ended.
 */
export const UPSERT_REQUESTS = statement<Insertable<Tables['approval_requests']>>(`
with x as (
  select * from jsonb_populate_recordset(null::approval_requests, $1::jsonb)
)
insert into approval_requests as r select * from x
on conflict (id) do update set
  state = case when r.state in ('pending', 'approved') then excluded.state else r.state end,
  answers = case when r.state in ('pending', 'approved') then excluded.answers else r.answers end,
  until = case when r.state in ('pending', 'approved') then excluded.until else r.until end,
  review_state = case when excluded.review is null then r.review_state else excluded.review_state end,
  review = coalesce(excluded.review, r.review)`);

/** Queues messages for delivery to webhooks. */
export const ADD_DELIVERIES = statement<Insertable<Tables['approval_deliveries']>>(`
insert into approval_deliveries
select * from jsonb_populate_recordset(null::approval_deliveries, $1::jsonb)
on conflict (id) do nothing`);

/** Converts a request to its database row. */
export function requestRow(request: GrantRequest): Insertable<Tables['approval_requests']> {
  const { id, session, person, workspace, grant, reason, until } = request;
  return {
    id,
    session_id: session,
    issuer: toStorableText(person.issuer),
    subject: toStorableText(person.subject),
    login: toStorableText(person.login),
    workspace: toStorableText(workspace),
    identities: JSON.stringify(request.identities),
    grant_name: grant,
    seconds: request.seconds,
    reason: reason === undefined ? null : toStorableText(reason),
    asked_at: timestamp(request.asked_at),
    answer_by: timestamp(request.answer_by),
    needed: request.needed,
    state: request.state,
    answers: JSON.stringify(request.answers),
    until: until === undefined ? null : timestamp(until),
    review_state: request.emergency?.state ?? null,
    review: request.emergency ? JSON.stringify(request.emergency) : null,
  };
}

/** Reads all pending requests, approved requests that are still in effect, and emergencies that need a review. */
export async function readOpenRequests(store: Store): Promise<GrantRequest[]> {
  const rows = await store.db
    .selectFrom('approval_requests')
    .selectAll()
    .where((is) => is.or([is('state', 'in', ['pending', 'approved']), is('review_state', 'in', UNREVIEWED_STATES)]))
    .execute();
  return rows.map(fromRow);
}

/**
 * Reads the newest requests, optionally only those of one session or the one with a given id.
 * @throws MeshpassError `store_unavailable`
 */
export async function recentRequests(
  store: Store,
  filter: { readonly session_id?: string; readonly id?: string },
  most: number,
): Promise<GrantRequest[]> {
  const newest = store.db
    .selectFrom('approval_requests')
    .selectAll()
    .where((is) => is.and(filter))
    .orderBy('asked_at', 'desc')
    .orderBy('id')
    .limit(most);
  return (await queryStore(newest.execute())).map(fromRow);
}

/**
 * Deletes old settled requests that do not need a review. They remain in the audit log.
 * @param before only requests made before this time are deleted, in Unix seconds
 */
export async function deleteOldRequests(store: Store, before: number): Promise<void> {
  await store.db
    .deleteFrom('approval_requests')
    .where('asked_at', '<', new Date(before * 1000))
    .where('state', 'not in', ['pending', 'approved'])
    .where((is) => is.or([is('review_state', 'is', null), is('review_state', 'not in', UNREVIEWED_STATES)]))
    .execute();
}

/** Allows a webhook to send a single-use message again, because nothing was decided the first time. */
export async function allowMessageReuse({ db }: Store, key: string): Promise<void> {
  await db.deleteFrom('proof_replay').where('key', '=', key).execute();
}

function fromRow(row: Selectable<Tables['approval_requests']>): GrantRequest {
  return {
    id: row.id,
    session: row.session_id,
    person: { issuer: row.issuer, subject: row.subject, login: row.login },
    workspace: row.workspace,
    identities: JSON.parse(row.identities) as Identity[],
    grant: row.grant_name,
    seconds: row.seconds,
    ...(row.reason !== null && { reason: row.reason }),
    asked_at: toUnixSeconds(row.asked_at),
    answer_by: toUnixSeconds(row.answer_by),
    needed: row.needed,
    state: row.state as ApprovalState,
    answers: JSON.parse(row.answers) as Answer[],
    ...(row.until !== null && { until: toUnixSeconds(row.until) }),
    ...(row.review !== null && { emergency: JSON.parse(row.review) as Emergency }),
  };
}
