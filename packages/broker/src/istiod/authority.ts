/**
 * Certificates for ServiceAccounts: ServiceAccount, its token, istiod's signature. istiod signs some 80 a second, so
 * what is asked for waits in a fair queue. A caller gets a whole, verified certificate or an error.
 */
import { formatSpiffe, MeshpassError } from '@meshpass/identity';
import { pause } from '../clock/timers.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import { checkCsr } from './check-csr.ts';
import { type FairQueue, fairQueue, type QueuePriority } from './fair-queue.ts';
import type { Istiod } from './istiod.ts';
import type { SignedCertificate } from './verify-certificate.ts';
import { verifyCertificate } from './verify-certificate.ts';

export interface SignRequest {
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly serviceAccount: string;
  /** PEM of a PKCS#10 request that has been checked (istiod/check-csr.ts). */
  readonly csr: string;
  /** Wanted life, seconds. */
  readonly ttl: number;
  /** Renewals are never starved by a burst of others. */
  readonly queue: QueuePriority;
  readonly signal?: AbortSignal;
}

export interface CertificateAuthority {
  /**
   * Creates the ServiceAccount where it is missing, asks for its token (TokenRequest, audience `istio-ca`) and has
   * istiod sign the CSR.
   * @throws MeshpassError `ca_unavailable`, `kubernetes_unavailable`, `overloaded`, `csr_*`
   */
  sign(request: SignRequest): Promise<SignedCertificate>;
  /** @throws MeshpassError `overloaded` where `sign` would refuse at once: what is to be written before it would be for nothing */
  assertRoom(queue: QueuePriority): void;
}

export interface AuthorityOptions {
  readonly kubernetes: Pick<Kubernetes, 'createServiceAccount' | 'deleteServiceAccount' | 'requestToken'>;
  readonly istiod: Pick<Istiod, 'sign'>;
  readonly trustDomain: string;
  /** PEM of the mesh's roots. */
  readonly roots: () => readonly string[];
  /** Whether a SPIFFE id has been revoked; such a one gets nothing, whatever is under way. */
  readonly isRevoked: (spiffeId: string) => boolean;
  /** Unix seconds. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
  readonly queue?: FairQueue;
}

export interface MeasuredAuthority extends CertificateAuthority {
  readonly depth: FairQueue['depth'];
}

const AUDIENCE = 'istio-ca';
/** The least that Kubernetes gives. The token is used once, at once, and forgotten. */
const TOKEN_SECONDS = 600;
const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 150;
/** Its deadline is less than an agent waits for an answer: it is then told when to come again. */
const DEFAULT_QUEUE = {
  concurrency: 16,
  limit: { arrival: 400, renewal: 800, return: 800 },
  deadline: 8_000,
} as const;
/** gRPC statuses that trying again does not mend. Unauthenticated is not among them: istiod says so of every token while it cannot reach Kubernetes. */
const FINAL_STATUSES: readonly unknown[] = [
  'InvalidArgument',
  'PermissionDenied',
  'Unimplemented',
  'FailedPrecondition',
];

export function certificateAuthority(options: AuthorityOptions): MeasuredAuthority {
  const queue = options.queue ?? fairQueue(DEFAULT_QUEUE);
  return {
    depth: queue.depth,
    assertRoom: queue.assertRoom,
    sign: async (request) => {
      const csr = await checkCsr(request.csr);
      const { namespace, serviceAccount, ttl } = request;
      const spiffeId = formatSpiffe({ trustDomain: options.trustDomain, namespace, serviceAccount });
      return queue.run(
        request.queue,
        (signal) =>
          withRetries(options.random, signal, async () => {
            refuseRevoked(options, spiffeId);
            const token = await serviceAccountToken(options, request, signal);
            const chain = await options.istiod.sign({ csr: csr.pem, ttl, token, signal });
            const { publicKey } = csr;
            const expected = { spiffeId, publicKey, ttl, roots: options.roots(), now: options.now() };
            const signed = verifyCertificate(chain, expected);
            await undoRevoked(options, request, signed);
            return signed;
          }),
        request.signal,
      );
    },
  };
}

/** A token of the ServiceAccount, which is created where it is missing. */
async function serviceAccountToken(
  options: AuthorityOptions,
  request: SignRequest,
  signal: AbortSignal,
): Promise<string> {
  const { kubernetes } = options;
  const of = { namespace: request.namespace, name: request.serviceAccount };
  const ask = (): Promise<string | undefined> => kubernetes.requestToken(of, AUDIENCE, TOKEN_SECONDS, signal);
  // A renewal's ServiceAccount exists; an arrival's does not. Either way a wrong guess costs one call.
  let token = request.queue === 'renewal' ? await ask() : undefined;
  if (token === undefined) {
    await kubernetes.createServiceAccount(of.namespace, of.name, signal);
    token = await ask();
  }
  if (token !== undefined) return token;
  throw new MeshpassError('kubernetes_unavailable', 'The ServiceAccount could not be created; try again shortly.', {
    detail: { ...of },
    retryAfter: 2,
  });
}

function refuseRevoked(options: AuthorityOptions, spiffeId: string): void {
  if (options.isRevoked(spiffeId)) {
    throw new MeshpassError('session_closed', 'The session has ended; open a new one.', { detail: { spiffeId } });
  }
}

/** A session that was closed while its certificate was made: the ServiceAccount may have been made after its deletion. */
async function undoRevoked(
  options: AuthorityOptions,
  request: SignRequest,
  { spiffeId }: SignedCertificate,
): Promise<void> {
  if (!options.isRevoked(spiffeId)) return;
  await options.kubernetes.deleteServiceAccount(request.namespace, request.serviceAccount);
  refuseRevoked(options, spiffeId);
}

async function withRetries<T>(random: () => number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === ATTEMPTS || signal.aborted || !isTransient(error)) throw error;
      await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + random()), signal);
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
