/**
 * Issues one SVID per grant, signed by the mesh CA, in response to `POST /certificates`.
 *
 * A session may end while istiod is signing. Before the request is sent to istiod, the latest possible expiry of the
 * SVID is therefore recorded in the store and in the live session, which ensures that any later revocation lasts long
 * enough. Certificates for a session that has ended are not returned.
 */
import { createPublicKey } from 'node:crypto';
import { dpopThumbprint, MeshpassError, sha256Hex } from '@meshpass/identity';
import type { CertificateRequest, CertificateResponse } from '@meshpass/identity/wire';
import { type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import { checkCsr, type SignedCertificate, type SignRequest } from '../../mesh/index.ts';
import type { SessionContext } from '../session/context.ts';
import { revokedPrincipals } from '../session/lifecycle.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { type Principal, principalUnder } from '../session/session.ts';
import { RECORD_EXPIRY } from '../session-sql.ts';

/** The minimum lifetime of an SVID, in seconds. An SVID with a shorter lifetime could expire in transit. */
const MIN_TTL = 60;
/** The maximum time by which rounding and clock skew in a CA may extend the requested lifetime, in seconds. */
const MARGIN = 30;

interface Wanted {
  readonly principal: Principal;
  readonly csr: SignRequest['csr'];
  readonly ttl: number;
  readonly queue: SignRequest['queue'];
}

/** An authenticated request for certificates. */
export interface IssueRequest {
  readonly body: CertificateRequest;
  readonly live: Live;
  readonly event: AuditEvent;
  /** Aborts the request to istiod. The request is also aborted when the session ends. */
  readonly signal?: AbortSignal;
}

/**
 * Issues certificates for a live session's grants.
 * @throws MeshpassError `request_malformed`, `grant_unknown`, `csr_*`, `ca_unavailable`, `session_closed` and others
 */
export async function issueCertificates(
  context: SessionContext,
  { body, live, event, signal }: IssueRequest,
): Promise<CertificateResponse> {
  annotateEvent(event, { grant: body.certificates.map((one) => one.grant).join(',') });
  const { signal: ended } = live.abort;
  const either = signal ? AbortSignal.any([ended, signal]) : ended;
  const signed = await sign(context, live, await readRequest(context, body, live), either);
  annotateEvent(event, {
    reason: 'The session is live and has these grants.',
    target: signed.map(({ principal }) => principal.spiffeId).join(','),
    detail: { certificates: signed.map(({ principal, certificate }) => evidence(principal, certificate)) },
  });
  revokeLost(context, live, signed);
  await recordAllowed(context.audit, event);
  revokeLost(context, live, signed);
  return {
    certificates: signed.map(({ principal, certificate }) => ({
      grant: principal.grant,
      spiffe_id: certificate.spiffeId,
      chain: certificate.chain,
      not_before: certificate.notBefore,
      not_after: certificate.notAfter,
    })),
    roots: [...context.mesh.roots()],
  };
}

async function sign(context: SessionContext, live: Live, wanted: readonly Wanted[], signal: AbortSignal) {
  const now = toUnixSeconds(context.clock);
  for (const { queue } of wanted) context.authority.assertRoom(queue);
  const bounds = wanted.map(({ principal, ttl }) => ({ principal, until: now + ttl + MARGIN }));
  await recordMaxExpiry(context, live, bounds);

  const signed = await settleAll(
    wanted.map(async ({ principal, csr, ttl, queue }) => {
      const { namespace, serviceAccount } = principal;
      const certificate = await context.authority.sign({ namespace, serviceAccount, csr, ttl, queue, signal });
      if (certificate.spiffeId !== principal.spiffeId)
        throw new MeshpassError('ca_unavailable', 'The mesh CA signed a different identity than requested.', {
          detail: { reason: `got ${certificate.spiffeId}, expected ${principal.spiffeId}` },
        });
      live.svids.get(principal.spiffeId)!.certified = certificate.notAfter;
      return { principal, certificate };
    }),
  ).catch((thrown) => {
    revokeLost(context, live, wanted);
    throw thrown;
  });
  // The CA may have exceeded the requested lifetime, so update the recorded expiry.
  const ends = signed.map(({ principal, certificate }) => ({ principal, until: certificate.notAfter }));
  await recordMaxExpiry(context, live, ends);
  for (const { principal, certificate } of signed) live.svids.get(principal.spiffeId)!.root = certificate.root;
  return signed;
}

async function readRequest(context: SessionContext, request: CertificateRequest, live: Live): Promise<Wanted[]> {
  const { session } = live;
  const names = request.certificates.map((one) => one.grant);
  if (new Set(names).size !== names.length)
    throw new MeshpassError('request_malformed', 'A request can list each grant only once.');
  const ttls = new Map(context.mesh.access().grants.map((grant) => [grant.name, grant.ttl]));
  const now = toUnixSeconds(context.clock);
  return await Promise.all(
    request.certificates.map(async ({ grant, csr: pem }) => {
      const principal = principalUnder(session, grant, now);
      const ttl = ttls.get(grant);
      if (!principal || ttl === undefined)
        throw new MeshpassError('grant_unknown', 'The session does not have all of these grants.');
      const csr = await checkCsr(pem);
      refuseSessionKey(session.jkt, csr.publicKey);
      // The queue depends on which certificates were issued, not on which were requested. If a session's first request
      // was refused before istiod signed it, the session still counts as an arrival.
      const until = live.svids.get(principal.spiffeId)?.certified;
      const queue = until === undefined ? 'arrival' : until > now ? 'renewal' : 'return';
      return { principal, csr, ttl: Math.max(MIN_TTL, Math.min(ttl, principal.until - now)), queue };
    }),
  );
}

/**
 * Rejects a CSR that uses the session's own key. The certificate's key is passed to a proxy, which could take control
 * of the session if it had the session key.
 */
function refuseSessionKey(jkt: string, spki: Buffer): void {
  const { kty, crv, x, y } = createPublicKey({ key: spki, type: 'spki', format: 'der' }).export({ format: 'jwk' });
  if (kty !== 'EC' || crv !== 'P-256' || dpopThumbprint({ kty, crv, x: x!, y: y! }) !== jkt) return;
  throw new MeshpassError('csr_weak_key', 'A certificate requires its own key, not the session key.');
}

/** Durably records the latest expiry of the principals' SVIDs. Nothing is written if it has already been recorded. */
async function recordMaxExpiry(
  { journal }: SessionContext,
  live: Live,
  bounds: readonly { readonly principal: Principal; readonly until: number }[],
): Promise<void> {
  const news = bounds.flatMap(({ principal, until }) => {
    const svids = live.svids.get(principal.spiffeId) ?? { until: 0, recorded: 0 };
    live.svids.set(principal.spiffeId, svids);
    return until > svids.recorded ? [{ principal, until, svids }] : [];
  });
  if (news.length === 0) return;
  // Update the expiry in memory first, so that a concurrent revocation takes it into account.
  for (const { svids, until } of news) svids.until = Math.max(svids.until, until);
  const certificates = news.map(({ principal, until }) => ({
    session_id: live.session.id,
    grant_name: principal.grant,
    spiffe_id: principal.spiffeId,
    last_not_after: timestamp(until),
  }));
  await journal.transaction((tx) => tx.write(RECORD_EXPIRY, ...certificates));
  for (const { svids, until } of news) svids.recorded = Math.max(svids.recorded, until);
}

/** Waits for all promises to settle before rejecting, so that no signing is still in progress after the response. */
async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<T>).value);
}

/**
 * Revokes the certificates of principals that the session lost while they were being signed.
 * @throws MeshpassError `session_closed`, `grant_unknown`
 */
function revokeLost(
  { revocations, denies }: SessionContext,
  live: Live,
  wanted: readonly Pick<Wanted, 'principal'>[],
): void {
  // Compare principals instead of grants, because a grant that was lost and regained has a new principal.
  const held = new Set(live.session.principals.map(({ spiffeId }) => spiffeId));
  const lost = wanted.filter(({ principal }) => live.ended || !held.has(principal.spiffeId));
  if (lost.length === 0) return;
  // Revoke again, because signing may have recreated the deleted ServiceAccount or extended the expiry.
  const principals = lost.map(({ principal }) => principal);
  revocations.add(revokedPrincipals(live.svids, principals, live.ended && !denies(live.ended.cause)));
  if (live.ended) throw sessionClosedError(live.ended.cause);
  throw new MeshpassError('grant_unknown', 'The session no longer has all of these grants.');
}

function evidence(principal: Principal, certificate: SignedCertificate) {
  const leaf = certificate.chain.slice(0, certificate.chain.indexOf('-----END CERTIFICATE-----'));
  return {
    spiffeId: principal.spiffeId,
    notAfter: certificate.notAfter,
    root: certificate.root,
    sha256: sha256Hex(Buffer.from(leaf.replace('-----BEGIN CERTIFICATE-----', ''), 'base64')),
  };
}
