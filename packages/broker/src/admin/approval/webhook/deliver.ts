/**
 * Delivers messages about requests to the webhooks in the access file. A message is written in the same transaction as
 * its event, and the active broker sends it until the receiver accepts it. Response bodies are ignored. Each webhook
 * has its own queue, so an unresponsive webhook does not delay the rest. Messages about the same request are sent in
 * order.
 */
import type { ApprovalWebhook } from '@meshpass/access';
import { sql } from 'kysely';
import { type Clock, type DeliveryOutcome, seconds, timestamp, uuidv7 } from '../../../base/index.ts';
import { opensOf } from '../overview.ts';
import type { Parts } from '../parts.ts';
import { describeRequest, type Request } from '../request.ts';
import type { WebhookKeys } from './keys.ts';

/** Response timeout, ms. */
const PATIENCE_MS = 5_000;
/** Pauses between attempts, seconds. The last pause repeats. */
const BACKOFF = [1, 5, 15, 60, 300];
/**
 * Age at which a message is dropped because its request has ended, seconds. Messages about unreviewed emergencies are
 * kept.
 */
const GIVE_UP_SECONDS = 6 * 3600;
/** Maximum concurrent messages per webhook. */
const AT_ONCE = 5;

export interface DeliveryContext extends Pick<Parts, 'mesh' | 'store' | 'clock' | 'random'> {
  readonly keys: WebhookKeys;
  readonly fetch: typeof fetch;
  /** Called with the outcome of each attempt and the number of affected messages. */
  readonly onTried: (webhook: string, outcome: DeliveryOutcome, messages: number) => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Returns strictly increasing times, ms, so that records sorted by creation time have a unique order. */
export function risingClock(clock: Clock): Clock {
  let last = 0;
  return () => {
    last = Math.max(clock(), last + 1);
    return last;
  };
}

/**
 * Returns the rows of a message, one for each webhook in the access file in force.
 * @param clock strictly increasing, because messages about a request are sent in order of their timestamps
 */
export function deliveriesOf({ mesh, clock, random }: Pick<Parts, 'mesh' | 'clock' | 'random'>, request: Request) {
  if (!mesh.inForce()) return [];
  const now = timestamp(seconds(clock));
  const data = describeRequest(request, opensOf(mesh, request.grant));
  return (mesh.access().webhooks ?? []).map(({ name }) => ({
    id: `msg_${uuidv7(clock, random)}`,
    webhook: name,
    request_id: request.id,
    body: JSON.stringify({ type: messageType(request), timestamp: now, data }),
    created_at: now,
    next_at: now,
    attempts: 0,
  }));
}

function messageType({ state, answers, emergency }: Request): string {
  if (emergency && state === 'approved' && emergency.state === 'open') return 'approval.emergency';
  return state === 'pending' && answers.length === 0 ? 'approval.requested' : 'approval.changed';
}

type Due = Awaited<ReturnType<typeof readDue>>[number];

/**
 * Creates the delivery.
 * @returns a function that starts sending due messages to webhooks that have no earlier messages in progress; it does
 *   not wait for the result, and its calls must not overlap
 */
export function createDelivery(context: DeliveryContext) {
  const { mesh, onFailure, onTried } = context;
  const busy = new Set<string>();

  async function deliver(name: string, due: readonly Due[]): Promise<void> {
    const webhook = mesh.access().webhooks?.find((one) => one.name === name);
    if (!webhook) return onTried(name, 'dropped', await forget(context, name));
    if (due.some((row) => isOld(context, row))) onTried(name, 'given_up', await forget(context, name, oldest(context)));
    await Promise.all(due.filter((row) => !isOld(context, row)).map((row) => deliverOne(context, webhook, row)));
  }

  return async (): Promise<void> => {
    if (!mesh.inForce()) return;
    for (const [name, due] of Map.groupBy(await readDue(context, [...busy]), ({ webhook }) => webhook)) {
      busy.add(name);
      void deliver(name, due)
        .catch(onFailure)
        .finally(() => busy.delete(name));
    }
  };
}

/** Reads each webhook's oldest messages, but only the first message of each request. */
async function readDue({ store, clock }: DeliveryContext, busy: readonly string[]) {
  const first = store.db
    .selectFrom('approval_deliveries as one')
    .selectAll('one')
    .select(waitsForReview('one.request_id').as('is_awaited'))
    .select(sql<string>`row_number() over (partition by one.webhook order by one.next_at, one.id)`.as('place'))
    .where('next_at', '<=', new Date(clock()))
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('approval_deliveries as before')
            .select('before.id')
            .whereRef('before.webhook', '=', 'one.webhook')
            .whereRef('before.request_id', '=', 'one.request_id')
            .whereRef('before.id', '<', 'one.id'),
        ),
      ),
    )
    .$if(busy.length > 0, (query) => query.where('webhook', 'not in', busy));
  return await store.db.selectFrom(first.as('due')).selectAll().where('place', '<=', String(AT_ONCE)).execute();
}

async function deliverOne(context: DeliveryContext, webhook: ApprovalWebhook, row: Due): Promise<void> {
  const { store, clock, onTried } = context;
  const isSent = await send(context, webhook, row.id, row.body);
  onTried(webhook.name, isSent ? 'delivered' : 'failed', 1);
  if (isSent) {
    await store.db.deleteFrom('approval_deliveries').where('id', '=', row.id).execute();
    return;
  }
  const wait = BACKOFF[Math.min(row.attempts, BACKOFF.length - 1)]!;
  await store.db
    .updateTable('approval_deliveries')
    .set({ attempts: row.attempts + 1, next_at: new Date(clock() + wait * 1000) })
    .where('id', '=', row.id)
    .execute();
}

/**
 * Builds the SQL condition that a request is an emergency whose review is not yet due.
 * @param request column with its id
 */
function waitsForReview(request: string) {
  return sql<boolean>`exists (
    select 1 from approval_requests where approval_requests.id = ${sql.ref(request)} and approval_requests.review_state = 'open'
  )`;
}

function oldest({ clock }: DeliveryContext): Date {
  return new Date(clock() - GIVE_UP_SECONDS * 1000);
}

function isOld(context: DeliveryContext, { created_at, is_awaited }: Due): boolean {
  return !is_awaited && created_at < oldest(context);
}

/**
 * Deletes a webhook's messages.
 * @param before limits the deletion to older messages that are no longer needed
 * @returns number of deleted messages
 */
async function forget({ store }: DeliveryContext, webhook: string, before?: Date): Promise<number> {
  const { numDeletedRows } = await store.db
    .deleteFrom('approval_deliveries')
    .where('webhook', '=', webhook)
    .$if(before !== undefined, (query) =>
      query.where('created_at', '<', before!).where(({ not }) => not(waitsForReview('approval_deliveries.request_id'))),
    )
    .executeTakeFirst();
  return Number(numDeletedRows);
}

async function send(
  { keys, fetch, onFailure }: DeliveryContext,
  { name, url }: ApprovalWebhook,
  id: string,
  body: string,
): Promise<boolean> {
  try {
    const headers = { 'content-type': 'application/json', ...keys.sign(name, id, new Date(), body) };
    // A redirect would send a signed message to a receiver that is not in the access file.
    const request = {
      method: 'POST',
      headers,
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(PATIENCE_MS),
    } as const;
    const answer = await fetch(url, request);
    await answer.body?.cancel();
    return answer.status >= 200 && answer.status < 300;
  } catch (thrown) {
    onFailure(thrown);
    return false;
  }
}
