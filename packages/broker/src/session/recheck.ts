/**
 * Access is decided again when the access file changes, or what GitHub says of its holder, and a grant ends at its own
 * limit. A live session only loses here; what it gains is in widen.ts.
 */
import type { Access, Authorize } from '@meshpass/access';
import type { Losses } from '../attest/github/losses.ts';
import { seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { CloseCause } from '../store/close-causes.ts';
import { closeSession, type LifecycleContext, narrowSession } from './lifecycle.ts';
import type { Live } from './live.ts';
import { approvedIn } from './session.ts';
import { trustLost } from './trust.ts';

export interface RecheckContext extends LifecycleContext {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly losses: Losses;
}

/**
 * Decides a live session's access again from its attestation.
 * @param cause of its end, where it loses all: `access_removed` unless the attestation is what has changed
 */
export async function recheckSession(
  context: RecheckContext,
  live: Live,
  cause: CloseCause = 'access_removed',
): Promise<void> {
  if (live.ended) return;
  const access = context.mesh.access();
  const untrusted = trustLost(live.session.attestation, access.trust);
  if (untrusted !== undefined)
    return await closeSession(context, live, { cause: 'issuer_removed', detail: { reason: untrusted } });
  const approved = approvedIn(live.session);
  const decision = context.authorize(live.session.attestation, access, seconds(context.clock), approved);
  const held = new Map(decision.grants.map(({ grant, until }) => [grant.name, { limit: grant.session, until }]));
  const grants = live.session.grants.flatMap((grant) => {
    const found = held.get(grant.name);
    if (!found) return [];
    const { limit, until: closes = Number.POSITIVE_INFINITY } = found;
    return [{ ...grant, until: Math.min(grant.until, closes, live.session.openedAt + limit) }];
  });
  await narrowSession(context, live, grants, { cause, reason: decision.refusals.join('; ') });
}

/** Takes away the grants whose own limit has passed. */
export async function endPassedGrants(context: RecheckContext, live: Live): Promise<void> {
  const now = seconds(context.clock);
  const grants = live.session.grants.filter(({ until }) => until > now);
  await narrowSession(context, live, grants, { cause: 'expired', reason: 'The time limit of the grant has passed.' });
}

/**
 * Follows the mesh and the access file: live sessions lose what they are no longer granted, and edges learn the rest.
 * @returns stops following
 */
export function recheckOnChange(context: RecheckContext): () => void {
  const { mesh, live, feed } = context;
  let access: Access | undefined = mesh.inForce() ? mesh.access() : undefined;
  let roots = mesh.roots().join('');
  let version = mesh.version();
  return mesh.onChange(() => {
    if (!mesh.inForce()) return;
    const now = { access: mesh.access(), roots: mesh.roots().join(''), version: mesh.version() };
    if (now.access !== access) for (const one of [...live.all()]) recheckSession(context, one).catch(context.onFailure);
    if (now.roots !== roots) feed.roots();
    if (now.access !== access || now.version !== version) for (const one of live.all()) feed.admit(one.session);
    ({ access, roots, version } = now);
  });
}
