/**
 * What the process before this one left: its live sessions, and the principals whose SVIDs may still be valid. Leases are
 * not stored (a heartbeat costs no write), so every restored session gets a whole lease and a grace on top: a broker that
 * was away does not end sessions by having been away.
 */
import type { Attestation } from '@meshpass/identity';
import type { Clock } from '../instant.ts';
import { seconds } from '../instant.ts';
import type { RevokedPrincipal } from '../mesh/contract.ts';
import type { Store } from '../store/open.ts';
import type { Live } from './live.ts';
import type { HeldGrant } from './session.ts';

export interface Restored {
  readonly sessions: readonly Live[];
  readonly revoked: readonly RevokedPrincipal[];
}

export async function restore(store: Store, clock: Clock, leaseSeconds: number): Promise<Restored> {
  const rows = await store.db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).execute();
  const principals = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .selectAll('p')
    .where('s.closed_at', 'is', null)
    .where('p.revoked_at', 'is', null)
    .execute();
  const bySession = Map.groupBy(principals, (principal) => principal.session_id);
  const leaseUntil = seconds(clock) + leaseSeconds;
  const sessions = rows.map((row): Live => {
    const own = bySession.get(row.id) ?? [];
    return {
      session: {
        id: row.id,
        tokenHash: row.token_hash,
        jkt: row.jkt,
        attestation: JSON.parse(row.attestation) as Attestation,
        openedAt: unix(row.opened_at),
        expiresAt: unix(row.expires_at),
        grants: JSON.parse(row.grants) as HeldGrant[],
        principals: own.map((principal) => ({
          grant: principal.grant_name,
          namespace: principal.namespace,
          serviceAccount: principal.service_account,
          spiffeId: principal.spiffe_id,
        })),
      },
      leaseUntil,
      lastNotAfter: new Map(
        own.flatMap((one) => (one.last_not_after ? [[one.grant_name, unix(one.last_not_after)]] : [])),
      ),
      signedUnder: new Map(),
      abort: new AbortController(),
    };
  });
  return { sessions, revoked: await stillRevoked(store, clock) };
}

async function stillRevoked(store: Store, clock: Clock): Promise<RevokedPrincipal[]> {
  const rows = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .select(['p.namespace', 'p.service_account', 'p.spiffe_id', 'p.last_not_after'])
    .where((eb) => eb.or([eb('p.revoked_at', 'is not', null), eb('s.closed_at', 'is not', null)]))
    .where('p.last_not_after', '>', new Date(clock()))
    .execute();
  return rows.map((row) => ({
    namespace: row.namespace,
    serviceAccount: row.service_account,
    spiffeId: row.spiffe_id,
    until: unix(row.last_not_after!),
  }));
}

function unix(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
