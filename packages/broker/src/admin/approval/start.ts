/**
 * Starts approvals and connects them to sessions. An approved grant is added to and removed from a session like any
 * other grant.
 */

import { toUnixSeconds } from '../../base/index.ts';
import type { AdminContext, AdminProcess } from '../process.ts';
import { type Approvals, createApprovals } from './approvals.ts';
import type { ApprovalsContext } from './parts.ts';
import { deleteOldRequests } from './rows.ts';
import { createWebhookDelivery } from './webhook/deliver.ts';
import { createWebhookKeys } from './webhook/keys.ts';

const SWEEP_MS = 500;
const FORGET_MS = 3_600_000;
/** How long settled requests are listed, in seconds. The audit log keeps them for longer. */
const KEPT_SECONDS = 30 * 86_400;

/**
 * Starts approvals, along with the periodic sweep and the delivery of webhook messages.
 * @param acting a stack that stops all of them when it is disposed
 * @throws MeshpassError `store_unavailable`
 */
export async function startApprovals(
  { config, given, clock, random, metrics, failed }: AdminProcess,
  { store, audit, sessions }: Pick<AdminContext, 'store' | 'audit' | 'sessions'>,
  acting: AsyncDisposableStack,
): Promise<Approvals> {
  const { mesh, authorize } = given;
  const onFailure = failed('approvals');
  const context: ApprovalsContext = {
    audit,
    clock,
    random,
    store,
    mesh,
    authorize,
    live: sessions.live,
    losses: sessions.losses,
    read: given.github?.read,
    keys: createWebhookKeys(config.approvalWebhookKeys),
    give: sessions.give,
    take: sessions.take,
    fetch: given.fetch ?? fetch,
    onTried: metrics.webhookTried,
    onFailure,
  };
  const approvals = await createApprovals(context);
  /** Repeats an action while this broker is the leader, skipping a run if the previous one has not finished. */
  const repeat = (ms: number, act: () => Promise<void>) => {
    let isRunning = false;
    const timer = setInterval(async () => {
      if (isRunning || !store.isLeader()) return;
      isRunning = true;
      await act().catch(onFailure);
      isRunning = false;
    }, ms).unref();
    acting.defer(() => clearInterval(timer));
  };
  repeat(SWEEP_MS, approvals.sweep);
  repeat(SWEEP_MS, createWebhookDelivery(context));
  repeat(FORGET_MS, () => deleteOldRequests(store, toUnixSeconds(clock) - KEPT_SECONDS));
  return approvals;
}
