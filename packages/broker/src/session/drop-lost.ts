/** Holds attestations and live sessions against what GitHub has taken back since it was asked (attest/github/losses.ts). */
import type { Access } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { type Fact, factsOf, type Losses } from '../attest/github/losses.ts';
import { unavailable } from '../attest/issuer-http.ts';
import { closeSession, replaceAttestation } from './lifecycle.ts';
import type { Live } from './live.ts';
import { type RecheckContext, recheckSession } from './recheck.ts';
import type { Session } from './session.ts';

/**
 * @param asked `Losses.now` before the proof was looked at
 * @param trusted organization whose Codespaces the access file trusts
 * @returns the attestation without the teams and roles that were lost so lately that GitHub's servers may not all know
 * @throws MeshpassError `issuer_unavailable` where something changed while GitHub was asked, `workspace_not_available`,
 *   `workspace_not_trusted`
 */
export function withoutLosses(
  losses: Losses,
  attestation: Attestation,
  asked: number,
  trusted: string | undefined,
): Attestation {
  const facts = factsOf(attestation, trusted);
  if (facts.some((fact) => losses.since(fact, asked))) throw unavailable('GitHub', 'it changed during the check');
  // A job that is over never runs again.
  if (facts.some((fact) => fact.kind === 'job' && losses.isLost(fact)))
    throw new MeshpassError('workspace_not_available', 'GitHub reports that this job has ended.');
  const unsettled = facts.filter(losses.isUnsettled);
  if (unsettled.some(({ kind }) => kind === 'codespace'))
    throw new MeshpassError(
      'workspace_not_available',
      'GitHub has just reported that this Codespace is not running; it is checked again in a moment.',
      { retryAfter: 5 },
    );
  if (unsettled.some(({ kind }) => kind === 'member'))
    throw new MeshpassError(
      'workspace_not_trusted',
      `GitHub has just reported that you left ${trusted}; it is checked again in a moment.`,
    );
  return without(attestation, unsettled);
}

/**
 * What of a live session's attestation may give it something now: without the teams and roles that were lost, also so lately that
 * GitHub's servers may not all know.
 * @returns undefined where its workspace, or its developer's membership, is lost or unsettled
 */
export function settledAttestation(
  losses: Losses,
  { attestation, openedAt }: Session,
  trusted: string | undefined,
): Attestation | undefined {
  const lost = factsOf(attestation, trusted).filter(
    (fact) => losses.isLost(fact, openedAt) || losses.isUnsettled(fact),
  );
  if (lost.some(({ kind }) => kind !== 'team' && kind !== 'role')) return undefined;
  return without(attestation, lost);
}

/**
 * Holds a session that has just opened against what has changed since it was authorized: nobody could take it from a session that
 * was not in the index yet.
 *
 * @param since the access file by which it was authorized, and `Losses.now` at that time
 */
export async function recheckOpened(
  context: RecheckContext,
  live: Live,
  since: { readonly access: Access; readonly checked: number },
): Promise<void> {
  const { losses, mesh } = context;
  if (mesh.access() !== since.access) await recheckSession(context, live);
  const { openedAt } = live.session;
  await dropLost(context, live, (fact) => losses.since(fact, since.checked) && losses.isLost(fact, openedAt));
}

/** Takes from a live session what was lost of what it stands on, or ends it. */
export async function dropLost(context: RecheckContext, live: Live, isLost: (fact: Fact) => boolean): Promise<void> {
  const trusted = context.mesh.inForce() ? context.mesh.access().trust.codespaces?.organization : undefined;
  const lost = factsOf(live.session.attestation, trusted).filter(isLost);
  if (live.ended || lost.length === 0) return;
  const detail = { lost: lost.map(({ kind }) => kind) };
  if (lost.some(({ kind }) => kind === 'codespace'))
    return await closeSession(context, live, { cause: 'workspace_stopped', detail });
  if (lost.some(({ kind }) => kind === 'job')) return await closeSession(context, live, { cause: 'job_ended', detail });
  if (lost.some(({ kind }) => kind === 'member'))
    return await closeSession(context, live, { cause: 'membership_lost', detail });
  replaceAttestation(live, without(live.session.attestation, lost));
  // Without an access file in force nothing is decided; it is when one comes.
  if (context.mesh.inForce()) await recheckSession(context, live, 'membership_lost');
}

function without(attestation: Attestation, facts: readonly Fact[]): Attestation {
  if (facts.length === 0) return attestation;
  const teams = new Set(facts.flatMap((fact) => (fact.kind === 'team' ? [fact.team] : [])));
  const roles = new Set(facts.flatMap((fact) => (fact.kind === 'role' ? [fact.role] : [])));
  const { organizationRoles } = attestation;
  return {
    ...attestation,
    teams: attestation.teams.filter((team) => !teams.has(team)),
    ...(organizationRoles && { organizationRoles: organizationRoles.filter((role) => !roles.has(role)) }),
  };
}
