/**
 * Sends what happens to requests to the webhooks of the access file: written in the transaction in which it happens, sent until the other
 * side has taken it, by whichever broker is active. Nothing that comes back is read.
 */
import type { ApprovalWebhook } from '@meshpass/access';
import { seconds, timestamp, uuidv7 } from '../../clock/clock.ts';
import { opensOf } from '../opens.ts';
import type { Parts } from '../parts.ts';
import { describeRequest, type Request } from '../request.ts';
import type { WebhookKeys } from './keys.ts';

/** Longest that the other side may take, ms. */
const PATIENCE_MS = 5_000;
/** Time before each further try, seconds; the last one again and again. */
const BACKOFF = [1, 5, 15, 60, 300];
/** Nobody waits for an answer after that. */
const GIVE_UP_SECONDS = 6 * 3600;
const AT_ONCE = 10;

export interface DeliveryContext extends Pick<Parts, 'mesh' | 'store' | 'clock' | 'random'> {
  readonly keys: WebhookKeys;
  readonly fetch: typeof fetch;
  /** Told how each try ended. */
  readonly onTried: (webhook: string, outcome: 'delivered' | 'failed' | 'given_up') => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Rows for the store: one for each webhook of the access file in force. */
export function deliveriesOf({ mesh, clock, random }: Pick<Parts, 'mesh' | 'clock' | 'random'>, request: Request) {
  if (!mesh.inForce()) return [];
  const now = timestamp(seconds(clock));
  const type = request.state === 'pending' && request.answers.length === 0 ? 'approval.requested' : 'approval.changed';
  const data = describeRequest(request, opensOf(mesh, request.grant));
  return (mesh.access().webhooks ?? []).map(({ name }) => ({
    ...{ id: `msg_${uuidv7(clock, random)}`, webhook: name, request_id: request.id },
    body: JSON.stringify({ type, timestamp: now, data }),
    ...{ created_at: now, next_at: now, attempts: '0' },
  }));
}

/** Sends what is due. Two never run at once. */
export async function deliverDue(context: DeliveryContext): Promise<void> {
  const { store, clock, mesh } = context;
  const due = await store.db
    .selectFrom('approval_deliveries')
    .selectAll()
    .where('next_at', '<=', new Date(clock()))
    .orderBy('id')
    .limit(AT_ONCE)
    .execute();
  await Promise.all(
    due.map(async (one) => {
      const webhook = mesh.inForce() ? mesh.access().webhooks?.find(({ name }) => name === one.webhook) : undefined;
      const isOld = one.created_at.getTime() < clock() - GIVE_UP_SECONDS * 1000;
      const sent = webhook !== undefined && !isOld && (await send(context, webhook, one.id, one.body));
      context.onTried(one.webhook, sent ? 'delivered' : isOld ? 'given_up' : 'failed');
      if (sent || isOld) {
        await store.db.deleteFrom('approval_deliveries').where('id', '=', one.id).execute();
        return;
      }
      const wait = BACKOFF[Math.min(one.attempts, BACKOFF.length - 1)]!;
      await store.db
        .updateTable('approval_deliveries')
        .set({ attempts: one.attempts + 1, next_at: new Date(clock() + wait * 1000) })
        .where('id', '=', one.id)
        .execute();
    }),
  );
}

async function send(
  { keys, fetch, onFailure }: DeliveryContext,
  { name, url }: ApprovalWebhook,
  id: string,
  body: string,
): Promise<boolean> {
  try {
    const headers = { 'content-type': 'application/json', ...keys.sign(name, id, new Date(), body) };
    // A redirect would carry a signed message to somebody whom the access file does not name.
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
