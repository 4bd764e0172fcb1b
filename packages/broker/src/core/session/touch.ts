/**
 * Compares a live session with what it is currently entitled to, and removes any access beyond that. Code that detects
 * the cause of a loss (a new access file, an ended sign-in, an expired limit) updates the corresponding fact and calls
 * touch(), unless the cause ends the whole session. Losses at GitHub are reported by loseFacts(). Sessions only lose
 * grants here. They gain grants in widen.ts.
 */
import type { Access } from '@meshpass/access';
import { type Fact, withoutFacts } from '../../attest/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { SessionContext } from './context.ts';
import { computeEntitlement } from './entitlement.ts';
import { applyLosses } from './known-losses.ts';
import { type CloseRequest, closeSession, narrowSession, replaceAttestation } from './lifecycle.ts';
import type { Live } from './live.ts';
import { approvalExpiries } from './session.ts';

/**
 * Removes access that a live session is no longer entitled to. The change takes effect immediately in memory and at the
 * edges. If no access file is in effect, only expired limits and workspace losses are checked. The next access file
 * triggers another comparison.
 * @param cause the cause of the change that triggered this call, for the audit log
 * @returns a promise that resolves once the change has been stored
 */
export async function touch(context: SessionContext, live: Live, cause: CloseCause = 'access_removed'): Promise<void> {
  if (live.ended) return;
  const { mesh, losses, clock, authorize } = context;
  const now = toUnixSeconds(clock);
  const stored: Promise<void>[] = [];
  const current = live.session.principals.filter(({ until }) => until > now);
  if (current.length < live.session.principals.length) {
    const ends = new Map(current.map(({ grant, until }) => [grant, until]));
    const reason = 'The grant has reached its time limit.';
    stored.push(narrowSession(context, live, ends, { cause: 'expired', reason }));
  }
  const access = mesh.inForce() ? mesh.access() : undefined;
  const { attestation, isLess, ended } = applyLosses(losses, live.session, access?.trust.codespaces?.organization);
  if (ended) stored.push(closeSession(context, live, ended));
  if (access && !live.ended) {
    if (isLess) replaceAttestation(live, attestation);
    const approved = approvalExpiries(live.session);
    const { grants, refusals, denied } = computeEntitlement(authorize, live.session, access, now, approved);
    const ends = new Map([...grants].map(([name, { until }]) => [name, until]));
    const removed = isLess ? 'membership_lost' : cause;
    stored.push(
      denied === undefined
        ? narrowSession(context, live, ends, { cause: removed, reason: refusals.join('; ') })
        : closeSession(context, live, { cause: 'issuer_removed', detail: { reason: denied } }),
    );
  }
  await Promise.all(stored);
}

/**
 * Records facts about a live session that GitHub no longer confirms, and removes the access that depends on them.
 * @param close how to close the session, if it cannot continue without these facts
 */
export function loseFacts(context: SessionContext, live: Live, facts: readonly Fact[], close?: CloseRequest): void {
  for (const fact of facts) context.losses.lose(fact);
  // The facts are also removed directly, because if the clock was set back, the loss may be dated before the session.
  replaceAttestation(live, withoutFacts(live.session.attestation, facts));
  // The change takes effect immediately. If the store is unavailable, it is stored later.
  const stored = close ? closeSession(context, live, close) : touch(context, live, 'membership_lost');
  stored.catch(context.onFailure);
}

/**
 * Subscribes to changes to the mesh and the access file. Removes the grants that live sessions have lost, and sends all
 * other changes to the edges.
 * @returns a function that cancels the subscription
 */
export function touchOnChange(context: SessionContext): () => void {
  const { mesh, live, feed } = context;
  let access: Access | undefined = mesh.inForce() ? mesh.access() : undefined;
  let roots = mesh.roots().join('');
  let version = mesh.version();
  return mesh.onChange(() => {
    if (!mesh.inForce()) return;
    const now = { access: mesh.access(), roots: mesh.roots().join(''), version: mesh.version() };
    if (now.access !== access) for (const one of [...live.all()]) touch(context, one).catch(context.onFailure);
    if (now.roots !== roots) feed.roots();
    if (now.access !== access || now.version !== version) for (const one of live.all()) feed.admit(one.session);
    ({ access, roots, version } = now);
  });
}
