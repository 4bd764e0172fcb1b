/**
 * Delivers messages about requests to the webhooks in the access file. A message is stored in the same transaction as
 * the event that it reports, and the active broker retries it until the receiver accepts it. Response bodies are
 * ignored. Every webhook has its own queue, so that an unresponsive webhook does not delay the others, and messages
 * about the same request are sent in order.
 */
import type { ApprovalWebhook } from '@meshpass/access';
import { sql } from 'kysely';
import { type Clock, timestamp, toUnixSeconds, uuidv7 } from '../../../base/index.ts';
import { listOpenedPorts } from '../overview.ts';
import type { ApprovalsContext } from '../parts.ts';
import { describeRequest, type GrantRequest } from '../request.ts';

/** How long to wait for a webhook's response, in milliseconds. */
const PATIENCE_MS = 5_000;
/** The pauses between attempts, in seconds. The last pause is used for all further attempts. */
const BACKOFF = [1, 5, 15, 60, 300];
/**
 * How long undelivered messages are kept, in seconds. The request that they describe has ended by then. Messages about
 * unreviewed emergencies are kept for longer.
 */
const GIVE_UP_SECONDS = 6 * 3600;
/** The maximum number of messages to send to a webhook at the same time. */
const AT_ONCE = 5;

/**
 * Wraps a clock so that its time, in milliseconds, is strictly increasing. Records sorted by creation time then have a
 * unique order.
 */
export function monotonicClock(clock: Clock): Clock {
  let last = 0;
  return () => {
    last = Math.max(clock(), last + 1);
    return last;
  };
}

/**
 * Returns the rows for a message about a request, one for each webhook in the access file in force.
 * @param clock must be strictly increasing, because messages about a request are sent in the order in which they were
 *   created
 */
export function createDeliveryRows(
  { mesh, clock, random }: Pick<ApprovalsContext, 'mesh' | 'clock' | 'random'>,
  request: GrantRequest,
) {
  if (!mesh.inForce()) return [];
  const now = timestamp(toUnixSeconds(clock));
  const data = describeRequest(request, listOpenedPorts(mesh, request.grant));
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

function messageType({ state, answers, emergency }: GrantRequest): string {
  if (emergency && state === 'approved' && emergency.state === 'open') return 'approval.emergency';
  return state === 'pending' && answers.length === 0 ? 'approval.requested' : 'approval.changed';
}

type Due = Awaited<ReturnType<typeof readDue>>[number];

/**
 * Creates the function that delivers webhook messages.
 * @returns a function that starts sending all due messages, except to webhooks that are still busy with earlier ones.
 *   It does not wait for the result, and its calls must not overlap
 */
export function createWebhookDelivery(context: ApprovalsContext) {
  const { mesh, onFailure } = context;
  const busy = new Set<string>();
  return async (): Promise<void> => {
    if (!mesh.inForce()) return;
    const webhooks = new Map((mesh.access().webhooks ?? []).map((webhook) => [webhook.name, webhook]));
    await drop(context, [...webhooks.keys()]);
    for (const [name, due] of Map.groupBy(await readDue(context, [...busy]), ({ webhook }) => webhook)) {
      const webhook = webhooks.get(name);
      if (!webhook) continue;
      busy.add(name);
      void Promise.all(due.map((row) => deliverOne(context, webhook, row)))
        .catch(onFailure)
        .finally(() => busy.delete(name));
    }
  };
}

/**
 * Deletes messages for webhooks that are no longer in the access file. Also deletes old messages, except for those
 * about emergencies whose review is not due yet.
 */
async function drop({ store, clock, onTried }: ApprovalsContext, names: readonly string[]): Promise<void> {
  const oldest = new Date(clock() - GIVE_UP_SECONDS * 1000);
  const awaited = sql<boolean>`exists (
    select 1 from approval_requests
    where approval_requests.id = approval_deliveries.request_id and approval_requests.review_state = 'open'
  )`;
  const dropped = await store.db
    .deleteFrom('approval_deliveries')
    .where((is) =>
      is.or([is('webhook', 'not in', ['', ...names]), is.and([is('created_at', '<', oldest), is.not(awaited)])]),
    )
    .returning('webhook')
    .execute();
  for (const [name, rows] of Map.groupBy(dropped, ({ webhook }) => webhook))
    onTried(name, names.includes(name) ? 'given_up' : 'dropped', rows.length);
}

/**
 * Reads the oldest due messages for each webhook. Only the first message about each request is included, so that they
 * are sent in order.
 */
async function readDue({ store, clock }: ApprovalsContext, busy: readonly string[]) {
  const first = store.db
    .selectFrom('approval_deliveries as one')
    .selectAll('one')
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

async function deliverOne(context: ApprovalsContext, webhook: ApprovalWebhook, row: Due): Promise<void> {
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

async function send(
  { keys, fetch, onFailure }: ApprovalsContext,
  { name, url }: ApprovalWebhook,
  id: string,
  body: string,
): Promise<boolean> {
  try {
    const headers = { 'content-type': 'application/json', ...keys.sign(name, id, new Date(), body) };
    // Do not follow redirects. They would send a signed message to a receiver that is not in the access file.
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
