/**
 * What the rest of the broker asks of the mesh. `mesh/` fulfils it with istiod and Kubernetes; nothing outside of that
 * folder speaks to either.
 */

import type { Access } from '@meshpass/access';
import type { ReachableService } from '@meshpass/identity';

export interface SignRequest {
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly serviceAccount: string;
  /** PEM of a PKCS#10 request that has been checked (istiod/check-csr.ts). */
  readonly csr: string;
  /** Wanted life, seconds. */
  readonly ttl: number;
  /** Renewals are never starved by a burst of arrivals. */
  readonly queue: 'arrival' | 'renewal';
  readonly signal?: AbortSignal;
}

export interface SignedCertificate {
  readonly spiffeId: string;
  /** PEM, leaf first, without roots. */
  readonly chain: string;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** SHA-256 of the root that the chain ends in, hex. */
  readonly root: string;
}

export interface CertificateAuthority {
  /**
   * Creates the ServiceAccount where it is missing, asks for its token (TokenRequest, audience `istio-ca`) and has
   * istiod sign the CSR.
   * @throws MeshpassError `ca_unavailable`, `kubernetes_unavailable`, `overloaded`, `csr_*`
   */
  sign(request: SignRequest): Promise<SignedCertificate>;
}

/** A principal whose session is over. */
export interface RevokedPrincipal {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
  /** Unix seconds at which its last SVID, and the last token of its session, has expired; the root DENY holds it until then. */
  readonly until: number;
  /** The session, where it is over as a whole: its tokens are refused, too, whoever shows them. */
  readonly sessionId?: string | undefined;
  /** Ended without a DENY (session/deny-ended.ts): nothing is signed for it any more, and its ServiceAccount goes. */
  readonly undenied?: boolean | undefined;
}

export interface Revoker {
  /**
   * Makes the root DENY hold exactly these principals (expired and undenied ones left out) and deletes the ServiceAccounts of those
   * that are new.
   * Idempotent; converges from any state.
   */
  apply(revoked: readonly RevokedPrincipal[]): Promise<void>;
  /**
   * Deletes ServiceAccounts of ours that no live session stands behind: what a broker left that was killed between
   * making one and writing it down. Young ones are left alone: they may belong to a session that is being opened.
   * @returns the SPIFFE ids they stood for
   */
  collectOrphans(liveSpiffeIds: ReadonlySet<string>): Promise<readonly string[]>;
}

/** The mesh and the access file as they stand now. */
export interface MeshState {
  /** Whether an access file has been applied since the start; until then nobody is let in and no edge is told anything. */
  readonly inForce: () => boolean;
  /** The access file that is in force. @throws MeshpassError `kubernetes_unavailable` where none is yet */
  readonly access: () => Access;
  /** Root certificates of the mesh, PEM. */
  readonly roots: () => readonly string[];
  /** What these grants reach. */
  readonly services: (grants: readonly string[]) => readonly ReachableService[];
  /** Changes when `services` or `roots` would answer anew. */
  readonly version: () => string;
  /** Called after every change of access, services or roots; returns its own cancellation. */
  readonly onChange: (listener: () => void) => () => void;
  /** Ids of the keys with which sidecars were last told to verify identity tokens; none before the first time. */
  readonly tokenKeys: () => ReadonlySet<string>;
  /** The broker's token keys are others now: has sidecars told of them. */
  readonly tokenKeysChanged: () => void;
  /** Why the broker is not ready, empty when it is. */
  readonly unready: () => readonly string[];
}
