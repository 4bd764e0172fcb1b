/**
 * Restores the state of the previous broker process: the live sessions, whose leases are extended (see leases.ts), and
 * the revoked principals whose SVIDs may still be valid.
 */
import type { Attestation } from '@meshpass/identity';
import { toUnixSeconds } from '../../base/index.ts';
import { listRevokedPrincipals, type RestoreContext } from './deny/revoked-principals.ts';
import { leaseEndAfterOutage, recordGracePeriod } from './leases.ts';
import { createLiveSession, type Live } from './live.ts';
import { parseSignIns, serializeSignIns } from './rows.ts';
import type { GrantGain } from './session.ts';

/** Reads the live sessions and the revoked principals from the store. */
export async function restoreState(context: RestoreContext) {
  const { store, clock, config } = context;
  const rows = await store.db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).execute();
  const principals = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .selectAll('p')
    .where('s.closed_at', 'is', null)
    .where('p.revoked_at', 'is', null)
    .execute();
  const now = toUnixSeconds(clock);
  const ofSession = Map.groupBy(principals, (principal) => principal.session_id);
  await recordGracePeriod(store, leaseEndAfterOutage(now, config, rows.length, undefined));
  for (const row of rows) {
    const graced = row.sign_ins && gracedSignIns(row.sign_ins, now);
    if (graced === row.sign_ins) continue;
    row.sign_ins = graced;
    await store.db.updateTable('sessions').set({ sign_ins: graced }).where('id', '=', row.id).execute();
  }
  const sessions = rows.map((row): Live => {
    const own = ofSession.get(row.id) ?? [];
    const session = {
      id: row.id,
      tokenHash: row.token_hash,
      jkt: row.jkt,
      attestation: { ...(JSON.parse(row.attestation) as Attestation), ...(row.sign_ins && parseSignIns(row.sign_ins)) },
      openedAt: toUnixSeconds(row.opened_at),
      principals: own.map((principal) => ({
        grant: principal.grant_name,
        namespace: principal.namespace,
        serviceAccount: principal.service_account,
        spiffeId: principal.spiffe_id,
        until: toUnixSeconds(principal.until),
        ...(principal.gained !== null && { gained: JSON.parse(principal.gained) as GrantGain }),
      })),
    };
    const graced = row.graced_until ? toUnixSeconds(row.graced_until) : undefined;
    const leaseUntil = leaseEndAfterOutage(now, config, rows.length, graced);
    const live = createLiveSession(session, { leaseUntil, awaitingHeartbeat: true });
    for (const { spiffe_id, last_not_after } of own) {
      if (last_not_after === null) continue;
      const until = toUnixSeconds(last_not_after);
      live.svids.set(spiffe_id, { until, recorded: until, certified: until });
    }
    return live;
  });
  return { sessions, revoked: await listRevokedPrincipals(context) };
}

/**
 * Extends stored sign-ins that may have been due for confirmation while no broker was running. Each sign-in is extended
 * only once, so a broker that crashes repeatedly cannot keep it alive.
 */
function gracedSignIns(text: string, now: number): string {
  const { signIns, endedSignIns } = parseSignIns(text);
  const graced = signIns.map((signIn) =>
    signIn.confirm === undefined || signIn.graced
      ? signIn
      : { ...signIn, until: Math.max(signIn.until, now + signIn.confirm), graced: true as const },
  );
  return serializeSignIns({ signIns: graced, endedSignIns });
}
