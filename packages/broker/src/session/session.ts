/** A session: one workspace's live access under its grants. */
import type { Approved } from '@meshpass/access';
import { type Attestation, formatSpiffe, grantNamespace } from '@meshpass/identity';

/** A Codespace runs 12 hours at most. */
export const HARD_LIMIT_SECONDS = 12 * 3600;

export interface Principal {
  readonly grant: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

/** Why a live session gained a grant, as the store, the audit log and `meshpass_grants_gained_total` have it. */
export const GAIN_CAUSES = [
  /** Its time window opened. */
  'window_opened',
  /** An access file came into force that gives more. */
  'access_widened',
  /** Somebody approved it. */
  'approved',
  /** Its developer took it in an emergency, without an approval. */
  'emergency',
  /** Its developer signed in. */
  'signed_in',
] as const;
export type GainCause = (typeof GAIN_CAUSES)[number];

export interface HeldGrant {
  readonly name: string;
  /** Hard end of this grant in this session, Unix seconds. */
  readonly until: number;
  /** Absent: the session opened with it. */
  readonly gained?: Gained;
}

export interface Gained {
  readonly cause: GainCause;
  /** Unix seconds. */
  readonly at: number;
  /** Unix seconds at which what gave it ends, whatever the access file says; absent: it ends when the access file says. */
  readonly until?: number | undefined;
}

export interface Session {
  readonly id: string;
  /** SHA-256 of the session token, hex. */
  readonly tokenHash: string;
  /** Thumbprint of the DPoP key (RFC 7638). */
  readonly jkt: string;
  readonly attestation: Attestation;
  /** Unix seconds. */
  readonly openedAt: number;
  /** Hard end, Unix seconds: the latest end of its grants. */
  readonly expiresAt: number;
  readonly grants: readonly HeldGrant[];
  /** One for each grant that is held. */
  readonly principals: readonly Principal[];
}

/** Who a session is under one of its grants. */
export function principalOf(grant: string, serviceAccount: string, trustDomain: string): Principal {
  const namespace = grantNamespace(grant);
  return { grant, namespace, serviceAccount, spiffeId: formatSpiffe({ trustDomain, namespace, serviceAccount }) };
}

/** Causes by which a session holds a grant that the access file gives with an approval only. */
export const STANDS_FOR_APPROVAL: ReadonlySet<GainCause | undefined> = new Set(['approved', 'emergency']);

/** What a session holds because somebody approved it, or because it was taken in an emergency, with its end: the access file alone does not give it. */
export function approvedIn({ grants }: Session): Approved {
  const approved = grants.filter(({ gained }) => STANDS_FOR_APPROVAL.has(gained?.cause));
  return new Map(approved.map(({ name, until, gained }) => [name, gained?.until ?? until]));
}
