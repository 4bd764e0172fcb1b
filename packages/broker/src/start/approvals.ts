/** Approvals, connected to sessions: what is approved is gained as anything else is, and lost. */
import { type Approvals, createApprovals } from '../approval/approvals.ts';
import { deleteOldRequests } from '../approval/rows.ts';
import { createDelivery } from '../approval/webhook/deliver.ts';
import { webhookKeys } from '../approval/webhook/keys.ts';
import { seconds } from '../clock/clock.ts';
import type { GainQueue } from '../session/gain/queue.ts';
import { narrowSession } from '../session/lifecycle.ts';
import { gain, type WidenContext } from '../session/widen.ts';
import type { Store } from '../store/open.ts';
import type { Base } from './parts.ts';

const SWEEP_MS = 500;
const FORGET_MS = 3_600_000;
/** What was settled is listed so long; the audit log has it for longer. */
const KEPT_SECONDS = 30 * 86_400;

export interface StartedApprovals {
  readonly approvals: Approvals;
  readonly stop: () => void;
}

/** @throws MeshpassError `store_unavailable` */
export async function startApprovals(
  base: Base,
  store: Store,
  sessions: WidenContext,
  gains: Pick<GainQueue, 'add'>,
): Promise<StartedApprovals> {
  const { clock, given, failed } = base;
  const onFailure = failed('approvals');
  const keys = webhookKeys(base.config.approvalWebhookKeys);
  const approvals = await createApprovals({
    ...{ audit: sessions.audit, clock, random: sessions.random, store, live: sessions.live, mesh: sessions.mesh },
    ...{ authorize: sessions.authorize, losses: sessions.losses, read: given.github?.read, onFailure },
    keys,
    give: (live, grant, gift) => gain(sessions, live, grant, gift),
    take: async (live, grant, reason) => {
      const kept = live.session.grants.filter(({ name }) => name !== grant);
      await narrowSession(sessions, live, kept, { cause: 'approval_revoked', reason });
      // The access file may give it without an approval by now.
      gains.add(live, 'access_widened');
    },
  });
  const sweeping = setInterval(() => {
    if (store.isLeader()) void approvals.sweep();
  }, SWEEP_MS).unref();
  const delivery = createDelivery({
    ...{ mesh: sessions.mesh, store, clock, random: sessions.random, keys, fetch: given.fetch ?? fetch, onFailure },
    onTried: base.metrics.webhookTried,
  });
  const due = setInterval(() => {
    if (store.isLeader()) delivery.deliverDue().catch(onFailure);
  }, SWEEP_MS).unref();
  const forgetting = setInterval(() => {
    if (store.isLeader()) deleteOldRequests(store, seconds(clock) - KEPT_SECONDS).catch(onFailure);
  }, FORGET_MS).unref();
  return {
    approvals,
    stop: () => {
      clearInterval(sweeping);
      clearInterval(due);
      clearInterval(forgetting);
    },
  };
}
