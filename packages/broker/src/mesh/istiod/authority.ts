/**
 * Issues certificates for ServiceAccounts. It creates the ServiceAccount, requests a token for it and has istiod sign
 * the CSR. istiod can only sign about 80 certificates per second, so requests wait in a fair queue. The caller receives
 * either a complete, verified certificate or an error.
 */
import { formatSpiffe, MeshpassError } from '@meshpass/identity';
import { pause } from '../../base/index.ts';
import { backoff } from '../backoff.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import type { CheckedCsr } from './check-csr.ts';
import { createFairQueue, type QueuePriority } from './fair-queue.ts';
import type { Istiod } from './istiod.ts';
import { type SignedCertificate, verifyCertificate } from './verify-certificate.ts';

/**
 * The maximum lifetime of an SVID, in seconds. This is the longest `ttl` that an access file can set, plus the margin
 * that a CA may add.
 */
export const MAX_SVID_SECONDS = 3_600 + 60;

export interface SignRequest {
  /** The grant's namespace, `meshpass-GRANT`. */
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly csr: CheckedCsr;
  /** The requested lifetime in seconds. */
  readonly ttl: number;
  /** The priority in the queue. Renewals cannot be starved by a burst of other requests. */
  readonly queue: QueuePriority;
  readonly signal?: AbortSignal;
}

export type CertificateAuthority = Omit<ReturnType<typeof createCertificateAuthority>, 'depth'>;

export interface AuthorityOptions {
  readonly kubernetes: Pick<Kubernetes, 'deleteServiceAccount' | 'requestIstiodToken'>;
  readonly istiod: Pick<Istiod, 'sign'>;
  readonly trustDomain: string;
  /** Returns the root certificates of the mesh in PEM format. */
  readonly roots: () => readonly string[];
  /**
   * Returns whether a SPIFFE ID has been revoked. A revoked ID never gets a certificate, even if a request for it is
   * already in progress.
   */
  readonly isRevoked: (spiffeId: string) => boolean;
  /** Returns the current time in Unix seconds. */
  readonly now: () => number;
}

const ATTEMPTS = 4;
/**
 * The queue settings. The deadline is shorter than the agent's timeout so that the agent still receives a Retry-After
 * header.
 */
const QUEUE = {
  concurrency: 16,
  limit: { arrival: 400, renewal: 800, return: 800 },
  deadline: 8_000,
} as const;
/**
 * The gRPC statuses that are not worth retrying. Unauthenticated is not one of them, because istiod returns it for all
 * tokens while it cannot reach Kubernetes.
 */
const FINAL_STATUSES: readonly unknown[] = [
  'InvalidArgument',
  'PermissionDenied',
  'Unimplemented',
  'FailedPrecondition',
];

/** Creates a certificate authority that is backed by istiod. */
export function createCertificateAuthority(options: AuthorityOptions) {
  const queue = createFairQueue(QUEUE);
  return {
    depth: queue.depth,
    assertRoom: queue.assertRoom,
    /**
     * Gets a certificate for a CSR. Creates the ServiceAccount if it does not exist, requests a token for it
     * (TokenRequest, audience `istio-ca`) and has istiod sign the CSR.
     * @throws MeshpassError `ca_unavailable`, `kubernetes_unavailable`, `overloaded`
     */
    sign: async (request: SignRequest): Promise<SignedCertificate> => {
      const { namespace, serviceAccount, csr, ttl } = request;
      const spiffeId = formatSpiffe({ trustDomain: options.trustDomain, namespace, serviceAccount });
      return queue.run(
        request.queue,
        (signal) =>
          withRetries(signal, async () => {
            refuseRevoked(options, spiffeId);
            // For a renewal, the ServiceAccount usually exists already. For an arrival, it does not.
            const exists = request.queue === 'renewal';
            const account = { namespace, name: serviceAccount };
            const token = await options.kubernetes.requestIstiodToken(account, exists, signal);
            const chain = await options.istiod.sign({ csr: csr.pem, ttl, token, signal });
            const expected = { spiffeId, publicKey: csr.publicKey, ttl, roots: options.roots(), now: options.now() };
            const signed = verifyCertificate(chain, expected);
            await undoRevoked(options, request, signed);
            return signed;
          }),
        request.signal,
      );
    },
  };
}

function refuseRevoked(options: AuthorityOptions, spiffeId: string): void {
  if (options.isRevoked(spiffeId)) {
    throw new MeshpassError('session_closed', 'The session has ended; open a new one.', { detail: { spiffeId } });
  }
}

/**
 * Deletes the ServiceAccount if the session was closed while its certificate was being signed. Signing may have created
 * the ServiceAccount again after it had been deleted.
 */
async function undoRevoked(
  options: AuthorityOptions,
  request: SignRequest,
  { spiffeId }: SignedCertificate,
): Promise<void> {
  if (!options.isRevoked(spiffeId)) return;
  await options.kubernetes.deleteServiceAccount(request.namespace, request.serviceAccount);
  refuseRevoked(options, spiffeId);
}

async function withRetries<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === ATTEMPTS || signal.aborted || !isTransient(error)) throw error;
      await pause(backoff(attempt - 1), signal);
      if (signal.aborted) throw error;
    }
  }
}

function isTransient(error: unknown): boolean {
  if (!(error instanceof MeshpassError)) return false;
  const { status, grpc } = error.detail;
  if (error.code === 'kubernetes_unavailable') return status === undefined || Number(status) >= 500 || status === 429;
  return error.code === 'ca_unavailable' && grpc !== undefined && !FINAL_STATUSES.includes(grpc);
}
