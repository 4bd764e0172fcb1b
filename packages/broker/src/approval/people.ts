/** Whether two identities are of one person: nobody approves what they have asked for, and nobody counts twice. */
import type { Approval, Trust } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { LiveIndex } from '../session/live.ts';

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

/** Issuers that a hint names. */
const MOST_HINTED = 3;

/** By the issuer's own name for itself: that of the access file may change hands. */
function named({ issuer, subject, claims }: Pick<Attestation, 'issuer' | 'subject' | 'claims'>): Identity {
  return { issuer: typeof claims.iss === 'string' ? claims.iss : issuer, subject };
}

/**
 * What else the live sessions show of somebody: those that share an identity with them are theirs, whatever account they came with, and
 * so are those that share one with these. Subjects of issuers at which nobody signs in lead nowhere: many people have the same branch.
 * @returns completes what is known of a person; `sessionId` is of a session that is theirs
 */
export function peopleOf(
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
    // It grows meanwhile.
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

/**
 * @param trust absent where the two are operators: they sign in somewhere else, and cannot add an identity
 * @throws MeshpassError `approval_own`, `approval_not_comparable`
 */
export function refuseOwn(requester: readonly Identity[], approver: readonly Identity[], trust?: Trust): void {
  const compared = comparePeople(requester, approver);
  if (compared === 'same')
    throw new MeshpassError(
      'approval_own',
      trust
        ? 'This is your own request: somebody else has to answer it.'
        : 'You asked for this yourself: another operator has to confirm it.',
    );
  if (compared === 'unknown')
    throw new MeshpassError(
      'approval_not_comparable',
      `Nothing shows that you are not the person who asked: ${issuers(requester, trust)} confirmed them, and ${issuers(approver, trust)} you. ` +
        wayOut(requester, approver, trust),
    );
}

/**
 * What a requester has to know before anybody can answer, or review; undefined where they share an issuer with some entry of `by`.
 * @example `Who may approve is known at okta, and you are not: "meshpass login --issuer okta" first, or nobody may be able to answer.`
 */
export function signInFirst(
  { by }: Pick<Approval, 'by'>,
  requester: readonly Identity[],
  trust: Trust,
  act: 'approve' | 'review' = 'approve',
): string | undefined {
  const known = new Set(requester.map(({ issuer }) => nameOf(issuer, trust)));
  // An entry without an issuer is about GitHub.
  const wanted = new Set(by.map(({ issuer = 'github' }) => issuer));
  if ([...wanted].some((name) => known.has(name))) return undefined;
  // One is enough.
  const missing = [...wanted].filter((name) => canSignIn(name, trust)).slice(0, MOST_HINTED);
  if (missing.length === 0) return undefined;
  const commands = missing.map((name) => `"meshpass login --issuer ${name}"`).join(' or ');
  const fails = act === 'approve' ? 'answer' : 'review it';
  return `Who may ${act} is known at ${missing.join(' or ')}, and you are not: ${commands} first, or nobody may be able to ${fails}.`;
}

function wayOut(requester: readonly Identity[], approver: readonly Identity[], trust: Trust | undefined): string {
  if (!trust) return 'Another operator, of the same issuer as whoever asked, has to confirm.';
  const own = names(approver, trust).filter((name) => canSignIn(name, trust));
  const ways = [
    ...own.map((name) => `ask them to run "meshpass login --issuer ${name}" in their workspace, then answer again`),
    ...names(requester, trust).map((name) => `answer with an identity of ${name}`),
  ];
  const [first = 'answer with an identity of the same issuer', ...more] = ways;
  return `${[first[0]!.toUpperCase() + first.slice(1), ...more].join(', or ')}.`;
}

function canSignIn(name: string, { issuers }: Trust): boolean {
  return issuers.some((one) => one.name === name && one.signIn !== undefined);
}

function issuers(identities: readonly Identity[], trust: Trust | undefined): string {
  return names(identities, trust).join(' and ') || 'nobody';
}

/** As the access file calls them, where it does. */
function names(identities: readonly Identity[], trust: Trust | undefined): readonly string[] {
  return [...new Set(identities.map(({ issuer }) => nameOf(issuer, trust)))];
}

function nameOf(issuer: string, trust: Trust | undefined): string {
  return trust?.issuers.find((one) => one.issuer === issuer)?.name ?? issuer;
}
