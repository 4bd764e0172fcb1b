/**
 * What the process before this one left: its live sessions, each with a lease anew (leases.ts), and the principals whose SVIDs may
 * still be valid.
 */
import type { Attestation, SignIn } from '@meshpass/identity';
import type { Clock } from '../clock/clock.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import type { RevokedPrincipal } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';
import type { Denies } from './deny-ended.ts';
import { type LeaseTerms, leaseAfterAbsence, rememberGrace } from './leases.ts';
import type { Live } from './live.ts';
import { readSignIns, signInsText } from './rows.ts';
import type { HeldGrant } from './session.ts';

export interface Restored {
  readonly sessions: readonly Live[];
  readonly revoked: readonly RevokedPrincipal[];
}

/**
 * @param terms of leases; and the life of identity tokens: those of a session that is over are refused for so long
 * @param denies what ended before, by its cause, as this broker is told now
 */
export async function restore(
  store: Store,
  clock: Clock,
  terms: LeaseTerms & { readonly tokenSeconds: number },
  denies: Denies,
): Promise<Restored> {
  const rows = await store.db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).execute();
  const principals = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .selectAll('p')
    .where('s.closed_at', 'is', null)
    .where('p.revoked_at', 'is', null)
    .execute();
  const now = seconds(clock);
  const ofSession = Map.groupBy(principals, (principal) => principal.session_id);
  const bySession = new Map(
    rows.map((row) => [row.id, current(JSON.parse(row.grants) as HeldGrant[], ofSession.get(row.id) ?? [])]),
  );
  await revokeOthers(store, now, principals, new Set([...bySession.values()].flat()));
  await rememberGrace(store, leaseAfterAbsence(now, terms, rows.length, undefined));
  const signIns = await restoredSignIns(store, rows, now);
  const sessions = rows.map((row): Live => {
    const own = bySession.get(row.id) ?? [];
    return {
      session: {
        id: row.id,
        tokenHash: row.token_hash,
        jkt: row.jkt,
        attestation: { ...(JSON.parse(row.attestation) as Attestation), ...signIns.get(row.id) },
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
      leaseUntil: leaseAfterAbsence(now, terms, rows.length, row.graced_until ? unix(row.graced_until) : undefined),
      awaitingHeartbeat: true,
      lastNotAfter: lastNotAfter(own),
      certified: lastNotAfter(own),
      signedUnder: new Map(),
      abort: new AbortController(),
    };
  });
  return { sessions, revoked: await stillRevoked(store, clock, terms.tokenSeconds, denies) };
}

/** Those of each session, as the store has them from now on, too. */
async function restoredSignIns(
  store: Store,
  rows: readonly { readonly id: string; readonly sign_ins: string | null }[],
  now: number,
): Promise<ReadonlyMap<string, Pick<Attestation, 'signIns' | 'endedSignIns'>>> {
  const found = new Map<string, Pick<Attestation, 'signIns' | 'endedSignIns'>>();
  for (const { id, sign_ins: text } of rows) {
    if (text === null) continue;
    const { signIns: stored, endedSignIns } = readSignIns(text);
    const signIns = gracedSignIns(stored, now);
    const changed = signInsText({ signIns, endedSignIns });
    if (changed !== text)
      await store.db.updateTable('sessions').set({ sign_ins: changed }).where('id', '=', id).execute();
    found.set(id, { signIns, endedSignIns });
  }
  return found;
}

/**
 * Principals whose access is over while an SVID or an identity token of theirs may still be valid.
 * @param sessionId only of this session
 */
export async function stillRevoked(
  store: Store,
  clock: Clock,
  tokenSeconds: number,
  denies: Denies,
  sessionId?: string,
): Promise<RevokedPrincipal[]> {
  const rows = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .select(['p.namespace', 'p.service_account', 'p.spiffe_id', 'p.last_not_after', 'p.revoke_cause'])
    .select(['s.id', 's.closed_at', 's.close_cause'])
    .where((eb) => eb.or([eb('p.revoked_at', 'is not', null), eb('s.closed_at', 'is not', null)]))
    .where('p.last_not_after', 'is not', null)
    .where((eb) =>
      eb.or([
        eb('p.last_not_after', '>', new Date(clock())),
        eb('s.closed_at', '>', new Date(clock() - tokenSeconds * 1000)),
      ]),
    )
    .$if(sessionId !== undefined, (query) => query.where('s.id', '=', sessionId!))
    .execute();
  return rows.map((row) => ({
    namespace: row.namespace,
    serviceAccount: row.service_account,
    spiffeId: row.spiffe_id,
    until: Math.max(unix(row.last_not_after!), row.closed_at ? unix(row.closed_at) + tokenSeconds : 0),
    ...(row.closed_at && { sessionId: row.id }),
    undenied: !denies(row.revoke_cause ?? row.close_cause ?? undefined),
  }));
}

interface Certified {
  readonly grant_name: string;
  readonly spiffe_id: string;
  readonly last_not_after: Date | null;
}

/**
 * One principal of each grant that is held. A broker that ended while a session gained something may have left one of a grant that is
 * not held, or a second; that one never got a certificate.
 */
function current<P extends Certified>(grants: readonly HeldGrant[], principals: readonly P[]): P[] {
  const byGrant = new Map<string, P>();
  for (const one of principals) {
    const other = byGrant.get(one.grant_name);
    if (!other || Number(one.last_not_after) > Number(other.last_not_after)) byGrant.set(one.grant_name, one);
  }
  return grants.flatMap(({ name }) => byGrant.get(name) ?? []);
}

async function revokeOthers<P extends Certified>(
  { db }: Store,
  now: number,
  principals: readonly P[],
  kept: ReadonlySet<P>,
): Promise<void> {
  const others = principals.filter((one) => !kept.has(one)).map((one) => one.spiffe_id);
  if (others.length === 0) return;
  await db
    .updateTable('session_principals')
    .set({ revoked_at: timestamp(now) })
    .where('spiffe_id', 'in', others)
    .where('revoked_at', 'is', null)
    .execute();
}

function lastNotAfter(
  principals: readonly { readonly spiffe_id: string; readonly last_not_after: Date | null }[],
): Map<string, number> {
  return new Map(
    principals.flatMap((one) => (one.last_not_after ? [[one.spiffe_id, unix(one.last_not_after)] as const] : [])),
  );
}

function unix(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}

/**
 * Sign-ins as the store has them, at the start of a broker. What had to be confirmed while no broker ran gets the time to be confirmed,
 * once: whoever kills brokers does not keep a sign-in alive.
 */
function gracedSignIns(signIns: readonly SignIn[], now: number): readonly SignIn[] {
  return signIns.map((signIn) =>
    signIn.confirm === undefined || signIn.graced
      ? signIn
      : { ...signIn, until: Math.max(signIn.until, now + signIn.confirm), graced: true },
  );
}
