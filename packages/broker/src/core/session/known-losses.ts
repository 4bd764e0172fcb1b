/**
 * Applies the losses that GitHub has reported (see attest/github/losses.ts) to attestations when a session is opened,
 * while it is live, and before it gains a grant.
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { attestationFacts, type Fact, type Losses, withoutFacts } from '../../attest/index.ts';
import { issuerUnavailableError } from '../../issuers/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { Session } from './session.ts';

/**
 * Removes recently lost teams and roles from an attestation, because some of GitHub's servers may still report them.
 * @param lossCount the value that `Losses.now` returned before the proof was verified
 * @param trusted the organization whose Codespaces the access file trusts
 * @throws MeshpassError `issuer_unavailable` if a relevant fact changed while GitHub was being queried,
 *   `workspace_not_available`, `workspace_not_trusted`
 */
export function withoutLosses(
  losses: Losses,
  attestation: Attestation,
  lossCount: number,
  trusted: string | undefined,
): Attestation {
  const facts = attestationFacts(attestation, trusted);
  if (facts.some((fact) => losses.since(fact, lossCount)))
    throw issuerUnavailableError('GitHub', 'the data changed during the check');
  // A job that has ended never runs again.
  if (facts.some((fact) => fact.kind === 'job' && losses.isLost(fact)))
    throw new MeshpassError('workspace_not_available', 'GitHub reports that this job has ended.');
  const unsettled = facts.filter(losses.isUnsettled);
  if (unsettled.some(({ kind }) => kind === 'codespace'))
    throw new MeshpassError(
      'workspace_not_available',
      'GitHub has just reported that this Codespace is not running. The broker will check again shortly.',
      { retryAfter: 5 },
    );
  if (unsettled.some(({ kind }) => kind === 'member'))
    throw new MeshpassError(
      'workspace_not_trusted',
      `GitHub has just reported that you left ${trusted}. The broker will check again shortly.`,
    );
  return withoutFacts(attestation, unsettled);
}

/**
 * Applies the losses that have occurred since a session opened. Losing a team or a role does not end the session.
 * @returns the remaining attestation, whether any fact was lost, and, if the session must end, the cause and details
 */
export function applyLosses(losses: Losses, { attestation, openedAt }: Session, trusted: string | undefined) {
  const lost = attestationFacts(attestation, trusted).filter((fact) => losses.isLost(fact, openedAt));
  const left = lost.find((fact) => fact.kind === 'member')?.organization;
  const detail = { lost: lost.map(({ kind }) => kind), ...(left !== undefined && { left }) };
  const cause = lost.map(({ kind }) => ENDS[kind]).find((one) => one !== undefined);
  return { attestation: withoutFacts(attestation, lost), isLess: lost.length > 0, ended: cause && { cause, detail } };
}

/** Why a session ends when it loses a fact of this kind, or undefined if the session continues. */
const ENDS: Readonly<Record<Fact['kind'], CloseCause | undefined>> = {
  codespace: 'workspace_stopped',
  job: 'job_ended',
  member: 'membership_lost',
  team: undefined,
  role: undefined,
};

/**
 * Returns the attestation that determines whether a live session gains grants. It does not include teams and roles that
 * are lost or unsettled.
 * @returns undefined if the session's workspace or its developer's membership is lost or unsettled
 */
export function settledAttestation(
  losses: Losses,
  { attestation, openedAt }: Session,
  trusted: string | undefined,
): Attestation | undefined {
  const lost = attestationFacts(attestation, trusted).filter(
    (fact) => losses.isLost(fact, openedAt) || losses.isUnsettled(fact),
  );
  if (lost.some(({ kind }) => ENDS[kind] !== undefined)) return undefined;
  return withoutFacts(attestation, lost);
}
