/** Whether two identities are of one person: nobody approves what they have asked for, and nobody counts twice. */
import { type Attestation, MeshpassError } from '@meshpass/identity';

/** A subject of an issuer, which stays when names change. */
export interface Identity {
  /** URL of an OIDC issuer, or `github`. */
  readonly issuer: string;
  readonly subject: string;
}

/** Everything by which somebody can be told from others: GitHub's user id, and the subject at each issuer that confirmed them. */
export function identitiesOf(attestation: Attestation): readonly Identity[] {
  const { issuer, githubUser, signIns = [] } = attestation;
  const github = githubUser ? [{ issuer: 'github', subject: String(githubUser.id) }] : [];
  return [...github, ...(issuer === 'github' ? [] : [named(attestation)]), ...signIns.map(named)];
}

/** By the issuer's own name for itself: that of the access file may change hands. */
function named({ issuer, subject, claims }: Pick<Attestation, 'issuer' | 'subject' | 'claims'>): Identity {
  return { issuer: typeof claims.iss === 'string' ? claims.iss : issuer, subject };
}

/**
 * @returns `same` where some identity is shared; `different` where both have one of the same issuer and share none; `unknown` where
 *   they have no issuer in common
 */
export function comparePeople(a: readonly Identity[], b: readonly Identity[]): 'same' | 'different' | 'unknown' {
  const pairs = a.flatMap((one) =>
    b.filter(({ issuer }) => issuer === one.issuer).map((other) => [one, other] as const),
  );
  if (pairs.length === 0) return 'unknown';
  return pairs.some(([one, other]) => one.subject === other.subject) ? 'same' : 'different';
}

/** @throws MeshpassError `approval_own`, `approval_not_comparable` */
export function refuseOwn(requester: readonly Identity[], approver: readonly Identity[]): void {
  const compared = comparePeople(requester, approver);
  if (compared === 'same')
    throw new MeshpassError('approval_own', 'This is your own request: somebody else has to answer it.');
  if (compared === 'unknown')
    throw new MeshpassError(
      'approval_not_comparable',
      `Nothing shows that you are not the person who asked: ${issuers(requester)} confirmed them, and ${issuers(approver)} you. ` +
        'Answer with an identity of the same issuer, or have the other person sign in at yours: meshpass login.',
    );
}

function issuers(identities: readonly Identity[]): string {
  return [...new Set(identities.map(({ issuer }) => issuer))].join(' and ') || 'nobody';
}
