/**
 * Compares the identities of people, so that requesters cannot approve their own requests and no approver is counted
 * twice.
 */
import type { Approval, Trust } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { LiveIndex } from '../../core/index.ts';

/** An identity at an issuer. Unlike a login or display name, the subject never changes. */
export interface Identity {
  /** The URL of an OIDC issuer, or `github`. */
  readonly issuer: string;
  readonly subject: string;
}

/**
 * Returns every identity that a person can be recognized by: their GitHub user id, and their subject at each issuer
 * that confirmed them.
 */
export function identitiesOf(attestation: Attestation): readonly Identity[] {
  const { issuer, githubUser, signIns = [] } = attestation;
  const github = githubUser ? [{ issuer: 'github', subject: String(githubUser.id) }] : [];
  return [...github, ...(issuer === 'github' ? [] : [named(attestation)]), ...signIns.map(named)];
}

/** The maximum number of issuers to mention in a hint. */
const MOST_HINTED = 3;

/**
 * Creates an identity that contains the issuer's URL. Its name would not be reliable, because the access file may reuse
 * it for another issuer.
 */
function named({ issuer, subject, claims }: Pick<Attestation, 'issuer' | 'subject' | 'claims'>): Identity {
  return { issuer: typeof claims.iss === 'string' ? claims.iss : issuer, subject };
}

/**
 * Links the identities that people have shown in live sessions. Sessions that share an identity belong to the same
 * person, and so do sessions connected through a chain of shared identities. Subjects of issuers without sign-in are
 * ignored, because such a subject may be a branch, which many people share.
 * @returns a function that adds all linked identities to those already known; `sessionId` is one of the person's
 *   sessions
 */
export function createIdentityLinker(
  live: Pick<LiveIndex, 'all' | 'byId'>,
  trust: Trust,
): (known: readonly Identity[], sessionId?: string) => readonly Identity[] {
  const isPersons = ({ issuer }: Identity) => issuer === 'github' || canSignIn(nameOf(issuer, trust), trust);
  const sharing = new Map<string, (readonly Identity[])[]>();
  for (const { session } of live.all()) {
    const shown = identitiesOf(session.attestation).filter(isPersons);
    for (const one of shown) {
      const sessions = sharing.get(keyOf(one)) ?? [];
      sessions.push(shown);
      sharing.set(keyOf(one), sessions);
    }
  }
  return (known, sessionId) => {
    const own = sessionId === undefined ? undefined : live.byId(sessionId);
    const found = new Map<string, Identity>();
    const waiting = [...known, ...(own ? identitiesOf(own.session.attestation) : [])];
    // This list grows while the loop is iterating over it.
    for (const one of waiting) {
      if (found.has(keyOf(one))) continue;
      found.set(keyOf(one), one);
      for (const shown of sharing.get(keyOf(one)) ?? []) waiting.push(...shown);
    }
    return [...found.values()];
  };
}

function keyOf({ issuer, subject }: Identity): string {
  return JSON.stringify([issuer, subject]);
}

/**
 * Determines whether two sets of identities belong to the same person.
 * @returns `same` if they share an identity, `different` if they share an issuer but no identity, or `unknown` if they
 *   do not share an issuer
 */
export function comparePeople(a: readonly Identity[], b: readonly Identity[]): 'same' | 'different' | 'unknown' {
  const pairs = a.flatMap((one) =>
    b.filter(({ issuer }) => issuer === one.issuer).map((other) => [one, other] as const),
  );
  if (pairs.length === 0) return 'unknown';
  return pairs.some(([one, other]) => one.subject === other.subject) ? 'same' : 'different';
}

/**
 * Rejects an approver who is the requester, or who cannot be distinguished from the requester.
 * @throws MeshpassError `approval_own`, `approval_not_comparable`
 */
export function refuseSelfApproval(requester: readonly Identity[], approver: readonly Identity[], trust: Trust): void {
  const compared = comparePeople(requester, approver);
  if (compared === 'same')
    throw new MeshpassError('approval_own', 'This is your own request. Another person must answer it.');
  if (compared === 'unknown')
    throw new MeshpassError(
      'approval_not_comparable',
      `Cannot verify that you are not the requester: their identity comes from ${issuers(requester, trust)}, and yours from ${issuers(approver, trust)}. ` +
        'Answer with an identity from their issuer, or ask them to sign in at yours (meshpass sign-in --issuer NAME) and answer again.',
    );
}

/**
 * Describes how a requester has to sign in so that they can be compared with an approver or reviewer. Returns undefined
 * if the requester already shares an issuer with an entry of `by`.
 */
export function findMissingSignIn(
  { by }: Pick<Approval, 'by'>,
  requester: readonly Identity[],
  trust: Trust,
  act: 'approve' | 'review' = 'approve',
): string | undefined {
  const known = new Set(requester.map(({ issuer }) => nameOf(issuer, trust)));
  // Entries without an issuer refer to GitHub users and teams.
  const wanted = new Set(by.map(({ issuer = 'github' }) => issuer));
  if ([...wanted].some((name) => known.has(name))) return undefined;
  // Signing in at any one of these issuers is enough.
  const missing = [...wanted].filter((name) => canSignIn(name, trust)).slice(0, MOST_HINTED);
  if (missing.length === 0) return undefined;
  const commands = missing.map((name) => `"meshpass sign-in --issuer ${name}"`).join(' or ');
  const [one, all] = act === 'approve' ? ['approver', 'Approvers'] : ['reviewer', 'Reviewers'];
  return `${all} are identified by ${missing.join(' or ')}, but you are not: run ${commands} first. Otherwise, no ${one} may be able to act.`;
}

function canSignIn(name: string, { issuers }: Trust): boolean {
  return issuers.some((one) => one.name === name && one.signIn !== undefined);
}

/** Lists issuers by the names they have in the access file, or by URL if they are not in the file. */
function issuers(identities: readonly Identity[], trust: Trust): string {
  const names = new Set(identities.map(({ issuer }) => nameOf(issuer, trust)));
  return [...names].join(' and ') || 'no issuer';
}

function nameOf(issuer: string, trust: Trust): string {
  return trust.issuers.find((one) => one.issuer === issuer)?.name ?? issuer;
}
