/** Connects approvals to sessions. A session gains and loses an approved grant like any other grant. */

import { toUnixSeconds } from '../../base/index.ts';
import type { AdminContext, AdminProcess } from '../process.ts';
import { type Approvals, createApprovals } from './approvals.ts';
import type { ApprovalsContext } from './parts.ts';
import { deleteOldRequests } from './rows.ts';
import { createWebhookDelivery } from './webhook/deliver.ts';
import { createWebhookKeys } from './webhook/keys.ts';

const SWEEP_MS = 500;
const FORGET_MS = 3_600_000;
/** How long settled requests are listed, seconds. The audit log keeps them longer. */
const KEPT_SECONDS = 30 * 86_400;

/**
 * Starts approvals, their sweep and webhook deliveries.
 * @param acting stack that stops them
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
  /** Repeats an action while this broker is active, one run at a time. */
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
