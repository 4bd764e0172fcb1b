/** A session: a workspace's live access under its grants. */
import type { Approved } from '@meshpass/access';
import { type Attestation, formatSpiffe, grantNamespace } from '@meshpass/identity';

/** Maximum session duration, because a Codespace runs for at most 12 hours. */
export const HARD_LIMIT_SECONDS = 12 * 3600;

/** Causes for which a live session gains a grant, as in the store, the audit log and `meshpass_grants_gained_total`. */
export type GainCause =
  /** The grant's time window opened. */
  | 'window_opened'
  /** A new access file grants more. */
  | 'access_widened'
  /** An approver approved it. */
  | 'approved'
  /** The developer used it in an emergency without an approval. */
  | 'emergency'
  /** The developer signed in. */
  | 'signed_in';

/**
 * A grant that a session has, and the session's identity under it. A grant that is lost and regained has a new
 * identity.
 */
export interface Principal {
  readonly grant: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
  /** Hard end of the grant in this session, Unix seconds. */
  readonly until: number;
  /** Absent if the session opened with the grant. */
  readonly gained?: GrantGain | undefined;
}

/** Cause and time of a gain. */
export interface GrantGain {
  readonly cause: GainCause;
  /** Unix seconds. */
  readonly at: number;
  /**
   * The cause's own limit, Unix seconds, independent of the access file; absent if only the access file limits the
   * gain.
   */
  readonly until?: number | undefined;
}

/** Live access of a workspace under its grants. */
export interface Session {
  readonly id: string;
  /** SHA-256 of the session token, hex. */
  readonly tokenHash: string;
  /** Thumbprint of the DPoP key (RFC 7638). */
  readonly jkt: string;
  readonly attestation: Attestation;
  /** Unix seconds. */
  readonly openedAt: number;
  /** Principals, one per grant that the session has. */
  readonly principals: readonly Principal[];
}

/** Returns the principal of a ServiceAccount under a grant. */
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

/** Returns the hard end of a session, Unix seconds: the latest end of its grants. */
export function sessionExpiry({ principals }: Pick<Session, 'principals'>): number {
  return Math.max(...principals.map(({ until }) => until));
}

/**
 * Returns the session's principal under a grant; undefined if the session does not have the grant or no longer has it.
 */
export function principalUnder(
  { principals }: Session,
  grant: string,
  now = Number.NEGATIVE_INFINITY,
): Principal | undefined {
  return principals.find((one) => one.grant === grant && one.until > now);
}

/** Causes that replace an approval required by the access file. */
export const APPROVAL_CAUSES: ReadonlySet<GainCause | undefined> = new Set(['approved', 'emergency']);

/**
 * Returns the grants that a session has through an approval or emergency, with their ends. The access file alone would
 * not include them.
 */
export function approvalExpiries({ principals }: Session): Approved {
  const approved = principals.filter(({ gained }) => APPROVAL_CAUSES.has(gained?.cause));
  return new Map(approved.map(({ grant, until, gained }) => [grant, gained?.until ?? until]));
}
