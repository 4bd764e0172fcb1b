/** Sessions and their principals. A session is the live access that a workspace has under its grants. */
import type { Approved } from '@meshpass/access';
import { type Attestation, formatSpiffe, grantNamespace } from '@meshpass/identity';

/** Maximum session duration, seconds. A Codespace runs for at most 12 hours. */
export const HARD_LIMIT_SECONDS = 12 * 3600;

/** Why a live session gained a grant, as recorded in the store, the audit log and `meshpass_grants_gained_total`. */
export type GainCause =
  /** The grant's time window opened. */
  | 'window_opened'
  /** A new access file includes the grant. */
  | 'access_widened'
  /** An approver approved the grant. */
  | 'approved'
  /** The developer used the grant in an emergency without an approval. */
  | 'emergency'
  /** The developer signed in. */
  | 'signed_in';

/**
 * A grant that a session has, and the session's identity under that grant. If the grant is lost and regained, the
 * identity is a new one.
 */
export interface Principal {
  readonly grant: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
  /** When the grant ends in this session, Unix seconds. */
  readonly until: number;
  /** How the session gained the grant. Absent if it opened with the grant. */
  readonly gained?: GrantGain | undefined;
}

/** Why and when a session gained a grant. */
export interface GrantGain {
  readonly cause: GainCause;
  /** Unix seconds. */
  readonly at: number;
  /**
   * Time limit that comes with the cause, such as the end of an approval, Unix seconds. Absent if only the access file
   * limits the grant.
   */
  readonly until?: number | undefined;
}

/** The live access that a workspace has under its grants. */
export interface Session {
  readonly id: string;
  /** SHA-256 of the session token, hex. */
  readonly tokenHash: string;
  /** Thumbprint of the DPoP key (RFC 7638). */
  readonly jkt: string;
  readonly attestation: Attestation;
  /** Unix seconds. */
  readonly openedAt: number;
  /** Principals of the session, one for each grant that it has. */
  readonly principals: readonly Principal[];
}

/** Creates the principal for a ServiceAccount under a grant. */
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

/** Returns when a session ends at the latest, Unix seconds. It ends with the last of its grants. */
export function sessionExpiry({ principals }: Pick<Session, 'principals'>): number {
  return Math.max(...principals.map(({ until }) => until));
}

/**
 * Returns the session's principal under a grant, or undefined if the session does not have the grant or the grant has
 * ended.
 * @param now Unix seconds. By default, ended grants are included.
 */
export function principalUnder(
  { principals }: Session,
  grant: string,
  now = Number.NEGATIVE_INFINITY,
): Principal | undefined {
  return principals.find((one) => one.grant === grant && one.until > now);
}

/** Causes that satisfy the access file's requirement for an approval. */
const APPROVAL_CAUSES: ReadonlySet<GainCause | undefined> = new Set(['approved', 'emergency']);

/**
 * Returns the grants that a session has because of an approval or an emergency, and when each of them ends. Without the
 * approval or emergency, the session would not be entitled to them.
 */
export function approvalExpiries({ principals }: Session): Approved {
  const approved = principals.filter(({ gained }) => APPROVAL_CAUSES.has(gained?.cause));
  return new Map(approved.map(({ grant, until, gained }) => [grant, gained?.until ?? until]));
}
