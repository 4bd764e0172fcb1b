/** A session: one workspace's live access under its grants. */
import type { Attestation } from '@meshpass/identity';

export interface Principal {
  readonly grant: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

export interface HeldGrant {
  readonly name: string;
  /** Hard end of this grant in this session, Unix seconds. */
  readonly until: number;
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
