/** Defines sessions and their principals. A session is the access that a workspace currently has under its grants. */
import type { Approved } from '@meshpass/access';
import { type Attestation, formatSpiffe, grantNamespace, sha256Base64url } from '@meshpass/identity';

/** The maximum duration of a session, in seconds. A Codespace runs for at most 12 hours. */
export const HARD_LIMIT_SECONDS = 12 * 3600;

/**
 * Why a live session gained a grant. The cause is recorded in the store, in the audit log and in the metric
 * `meshpass_grants_gained_total`.
 */
export type GainCause =
  /** The grant's time window opened. */
  | 'window_opened'
  /** A new access file includes the grant. */
  | 'access_widened'
  /** An approver approved the grant. */
  | 'approved'
  /** The developer obtained the grant in an emergency, without an approval. */
  | 'emergency'
  /** The developer signed in. */
  | 'signed_in';

/**
 * A grant that a session has, together with the session's identity under that grant. If the session loses the grant and
 * regains it later, it gets a new identity.
 */
export interface Principal {
  readonly grant: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
  /** When the grant ends in this session, in Unix seconds. */
  readonly until: number;
  /** How the session gained the grant. Absent if the session was opened with it. */
  readonly gained?: GrantGain | undefined;
}

/** Why and when a session gained a grant. */
export interface GrantGain {
  readonly cause: GainCause;
  /** When the grant was gained, in Unix seconds. */
  readonly at: number;
  /**
   * The time limit that comes with the cause, such as the end of an approval, in Unix seconds. Absent if the grant is
   * limited only by the access file.
   */
  readonly until?: number | undefined;
}

/** The access that a workspace currently has under its grants. */
export interface Session {
  readonly id: string;
  /** The SHA-256 hash of the session token, in hex. */
  readonly tokenHash: string;
  /** The thumbprint of the session's DPoP key (RFC 7638). */
  readonly jkt: string;
  readonly attestation: Attestation;
  /** When the session was opened, in Unix seconds. */
  readonly openedAt: number;
  /** The session's principals, one for each of its grants. */
  readonly principals: readonly Principal[];
}

/** Creates the principal that a session uses for a grant. */
export function principalOf(
  { grant, until, gained }: Pick<Principal, 'grant' | 'until' | 'gained'>,
  serviceAccount: string,
  trustDomain: string,
): Principal {
  const namespace = grantNamespace(grant);
  const spiffeId = formatSpiffe({ trustDomain, namespace, serviceAccount });
  return { grant, namespace, serviceAccount, spiffeId, until, ...(gained && { gained }) };
}

/** Returns the names of a session's grants. */
export function grantsOf({ principals }: Pick<Session, 'principals'>): readonly string[] {
  return principals.map(({ grant }) => grant);
}

/** Returns the latest time at which a session ends, in Unix seconds. A session ends with the last of its grants. */
export function sessionExpiry({ principals }: Pick<Session, 'principals'>): number {
  return Math.max(...principals.map(({ until }) => until));
}

/**
 * Returns the session's principal for a grant, or undefined if the session does not have the grant or the grant has
 * ended.
 * @param now the current time, in Unix seconds. By default, grants that have ended are included.
 */
export function principalUnder(
  { principals }: Session,
  grant: string,
  now = Number.NEGATIVE_INFINITY,
): Principal | undefined {
  return principals.find((one) => one.grant === grant && one.until > now);
}

/** Returns a version string that changes whenever the response to `GET /services` changes. */
export function servicesVersion(mesh: { readonly version: () => string | number }, { principals }: Session): string {
  // Sort the principals, because their order may change when a session is restored.
  const sorted = principals.toSorted((a, b) => (a.grant < b.grant ? -1 : 1));
  return `${mesh.version()}/${sha256Base64url(JSON.stringify(sorted)).slice(0, 16)}`;
}

/** The causes that satisfy the access file's approval requirement. */
const APPROVAL_CAUSES: ReadonlySet<GainCause | undefined> = new Set(['approved', 'emergency']);

/**
 * Returns the grants that a session is entitled to only because of an approval or an emergency, and when each of them
 * ends.
 */
export function approvalExpiries({ principals }: Session): Approved {
  const approved = principals.filter(({ gained }) => APPROVAL_CAUSES.has(gained?.cause));
  return new Map(approved.map(({ grant, until, gained }) => [grant, gained?.until ?? until]));
}
