/**
 * `POST /certificates`: one SVID per grant, signed by the mesh's own CA.
 *
 * A session can end while istiod signs. Before istiod is asked, the store and the live session therefore know until when the
 * principal may hold an SVID, so that its revocation lasts long enough whenever it comes; and what was signed for a session
 * that ended is not given out.
 */
import { createPublicKey } from 'node:crypto';
import type { CertificateRequest, CertificateResponse } from '@meshpass/identity';
import { MeshpassError } from '@meshpass/identity';
import { dpopThumbprint } from '@meshpass/identity/dpop';
import { sha256Hex } from '@meshpass/identity/hash';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import type { Journal } from '../audit/log/journal.ts';
import { type Clock, seconds, timestamp } from '../clock/clock.ts';
import type { CertificateAuthority, SignRequest } from '../istiod/authority.ts';
import { checkCsr } from '../istiod/check-csr.ts';
import type { SignedCertificate } from '../istiod/verify-certificate.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { Denies } from '../session/deny-ended.ts';
import { type Live, sessionClosed } from '../session/live.ts';
import type { Revocations } from '../session/revocations.ts';
import type { Principal } from '../session/session.ts';

export interface CertificateContext {
  readonly audit: AuditContext;
  readonly authority: CertificateAuthority;
  readonly mesh: MeshState;
  readonly journal: Journal;
  readonly revocations: Revocations;
  readonly denies: Denies;
  readonly clock: Clock;
}

/** An SVID of less could expire on its way. */
const MIN_TTL = 60;
/** What a CA may add to the life that was asked for: rounding, and its own clock. */
const MARGIN = 30;

interface Wanted {
  readonly principal: Principal;
  readonly csr: string;
  readonly ttl: number;
  readonly queue: SignRequest['queue'];
}

interface Signed {
  readonly principal: Principal;
  readonly certificate: SignedCertificate;
}

export interface IssueRequest {
  readonly body: CertificateRequest;
  readonly live: Live;
  readonly event: AuditEvent;
  /** Ends what waits for istiod; absent: only the end of the session does. */
  readonly signal?: AbortSignal;
}

/** @returns refused with `request_malformed`, `grant_unknown`, `csr_*`, `ca_unavailable`, `session_closed`, ... */
export async function issueCertificates(
  context: CertificateContext,
  { body, live, event: asked, signal }: IssueRequest,
): Promise<Outcome<CertificateResponse>> {
  const requested = { ...asked, grant: body.certificates.map((one) => one.grant).join(',') };
  let signed: readonly Signed[];
  try {
    const { signal: ended } = live.abort;
    const either = signal ? AbortSignal.any([ended, signal]) : ended;
    signed = await sign(context, await readRequest(context, body, live), live, either);
  } catch (thrown) {
    return refused(requested, thrown);
  }
  const event = {
    ...requested,
    reason: 'Grants of a live session.',
    target: signed.map(({ principal }) => principal.spiffeId).join(','),
    detail: { certificates: signed.map(({ principal, certificate }) => evidence(principal, certificate)) },
  };
  const lost = revokeLost(context, live, signed);
  if (lost) return refused(event, lost);
  const written = await recordGrant(context.audit, event);
  if (!written.granted) return written;
  const lostMeanwhile = revokeLost(context, live, signed);
  if (lostMeanwhile) return refused(event, lostMeanwhile);
  return granted(event, {
    certificates: signed.map(({ principal, certificate }) => ({
      grant: principal.grant,
      spiffe_id: certificate.spiffeId,
      chain: certificate.chain,
      not_before: certificate.notBefore,
      not_after: certificate.notAfter,
    })),
    roots: [...context.mesh.roots()],
  });
}

async function sign(
  context: CertificateContext,
  wanted: readonly Wanted[],
  live: Live,
  signal: AbortSignal,
): Promise<Signed[]> {
  const now = seconds(context.clock);
  for (const { queue } of wanted) context.authority.assertRoom(queue);
  await promise(
    context,
    live,
    wanted.map(({ principal, ttl }) => ({ principal, until: now + ttl + MARGIN })),
  );

  const signed = await settleAll(
    wanted.map(async ({ principal, csr, ttl, queue }) => {
      const { namespace, serviceAccount } = principal;
      const certificate = await context.authority.sign({ namespace, serviceAccount, csr, ttl, queue, signal });
      if (certificate.spiffeId !== principal.spiffeId)
        throw new MeshpassError('ca_unavailable', 'The mesh CA signed an identity other than the one requested.', {
          detail: { reason: `got ${certificate.spiffeId}, expected ${principal.spiffeId}` },
        });
      live.certified.set(principal.spiffeId, certificate.notAfter);
      return { principal, certificate };
    }),
  ).catch((thrown) => {
    throw revokeLost(context, live, wanted) ?? thrown;
  });
  // A CA may give longer than it was asked for; the revocation must then last longer, too.
  await promise(
    context,
    live,
    signed.map(({ principal, certificate }) => ({ principal, until: certificate.notAfter })),
  );
  for (const { principal, certificate } of signed) live.signedUnder.set(principal.spiffeId, certificate.root);
  return signed;
}

async function readRequest(context: CertificateContext, request: CertificateRequest, live: Live): Promise<Wanted[]> {
  const { session } = live;
  const names = request.certificates.map((one) => one.grant);
  if (new Set(names).size !== names.length)
    throw new MeshpassError('request_malformed', 'Each grant may be named only once in a request.');
  const ttls = new Map(context.mesh.access().grants.map((grant) => [grant.name, grant.ttl]));
  const now = seconds(context.clock);
  return await Promise.all(
    request.certificates.map(async ({ grant, csr }) => {
      const principal = session.principals.find((one) => one.grant === grant);
      const held = session.grants.find((one) => one.name === grant);
      const ttl = ttls.get(grant);
      if (!principal || !held || held.until <= now || ttl === undefined)
        throw new MeshpassError('grant_unknown', 'The session does not have one of these grants.');
      const checked = await checkCsr(csr);
      refuseSessionKey(session.jkt, checked.publicKey);
      // Not by what was asked for: who is told to come again before istiod has signed is still an arrival.
      const until = live.certified.get(principal.spiffeId);
      const queue = until === undefined ? 'arrival' : until > now ? 'renewal' : 'return';
      return { principal, csr: checked.pem, ttl: Math.max(MIN_TTL, Math.min(ttl, held.until - now)), queue };
    }),
  );
}

/** The key of a certificate goes to a proxy. The session's own key must not: whoever takes it there would take the session. */
function refuseSessionKey(jkt: string, spki: Buffer): void {
  const { kty, crv, x, y } = createPublicKey({ key: spki, type: 'spki', format: 'der' }).export({ format: 'jwk' });
  if (kty !== 'EC' || crv !== 'P-256' || dpopThumbprint({ kty, crv, x: x!, y: y! }) !== jkt) return;
  throw new MeshpassError('csr_weak_key', 'A certificate needs its own key, not the key of the session.');
}

/** Records, durably, until when principals may hold a valid SVID; nothing is written where that is known already. */
async function promise(
  { journal }: CertificateContext,
  live: Live,
  bounds: readonly { readonly principal: Principal; readonly until: number }[],
): Promise<void> {
  const news = bounds.filter(({ principal, until }) => until > (live.lastNotAfter.get(principal.spiffeId) ?? 0));
  if (news.length === 0) return;
  // In memory first: a revocation that comes while the store writes must know it.
  for (const { principal, until } of news) live.lastNotAfter.set(principal.spiffeId, until);
  const certificates = news.map(({ principal, until }) => ({
    session_id: live.session.id,
    grant_name: principal.grant,
    spiffe_id: principal.spiffeId,
    last_not_after: timestamp(until),
  }));
  await journal.write({ certificates, audit: [] });
}

/** Not before every one has ended: nothing may go on being signed behind an answer. */
async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<T>).value);
}

/** What was signed for an access that has ended meanwhile is not given out. @returns why; undefined where it is still held */
function revokeLost(
  { revocations, denies }: CertificateContext,
  live: Live,
  wanted: readonly Pick<Wanted, 'principal'>[],
): MeshpassError | undefined {
  // By its principal: a grant that was lost and gained again has another one.
  const held = new Set(live.session.principals.map(({ spiffeId }) => spiffeId));
  const lost = wanted.filter(({ principal }) => live.ended || !held.has(principal.spiffeId));
  if (lost.length === 0) return undefined;
  // Once more: signing may have made the ServiceAccount anew after the revocation deleted it, or given a longer life.
  revocations.add(
    lost.map(({ principal: { namespace, serviceAccount, spiffeId } }) => {
      const until = live.lastNotAfter.get(spiffeId) ?? 0;
      const undenied = live.ended && !denies(live.ended.cause);
      return { namespace, serviceAccount, spiffeId, until, undenied };
    }),
  );
  if (live.ended) return sessionClosed(live.ended.cause);
  return new MeshpassError('grant_unknown', 'The session no longer has one of these grants.');
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
