/**
 * Exchanges an ID token or a ServiceAccount token for an operator session (RFC 8693). The broker verifies the identity,
 * looks up its roles in the access file, checks the limits and stores the audit row. If one of these steps throws an
 * error, the exchange ends. Sessions are never written to the store: the CLI keeps its session as a token, and the
 * broker keeps browser sessions in memory.
 */

import type { Access } from '@meshpass/access';
import {
  type Attestation,
  ID_TOKEN_TYPE,
  JWT_TOKEN_TYPE,
  MeshpassError,
  operatorNonce,
  sha256Hex,
} from '@meshpass/identity';
import { decodeJwt } from 'jose';
import { type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { timestamp, toUnixSeconds, uuidv7 } from '../../base/index.ts';
import {
  type AttestationResult,
  confirmationStart,
  type IssuerHttpOptions,
  type IssuerKeys,
  verifyOperatorIdToken,
} from '../../issuers/index.ts';
import { formatRoles, nameOf, type OperatorSession } from './caller.ts';
import type { EndSessionsContext } from './end-sessions.ts';
import type { OperatorTokens } from './operator-token.ts';
import { callerOf, currentRoles, type labOnlyConfirmSeconds } from './sessions.ts';

/** The parts of operator sign-in that depend on the installation. */
export interface OperatorSignInDependencies {
  /** Provides the public keys of issuers. */
  readonly keys: IssuerKeys;
  /** The HTTP options for requests to issuers during browser sign-ins. Absent if browsers cannot sign in. */
  readonly http?: IssuerHttpOptions;
  /**
   * Verifies a ServiceAccount token for this audience with a TokenReview, and returns the user name. Absent if
   * ServiceAccounts cannot be operators.
   */
  readonly reviewToken?: (token: string, audience: string) => Promise<string | undefined>;
  readonly [labOnlyConfirmSeconds]?: () => number;
}

export interface OperatorSignInContext extends EndSessionsContext {
  readonly tokens: OperatorTokens;
  /** Verifies operators who sign in. Undefined if this broker does not support operator sign-in. */
  readonly proofs: OperatorSignInDependencies | undefined;
  readonly publicUrl: string;
  /**
   * Returns the access file in force.
   * @throws MeshpassError if no access file is in force
   */
  readonly access: () => Access;
}

/** A request to open an operator session. */
export interface SignInRequest {
  readonly token: string;
  /** The token type, as defined by RFC 8693 section 3. */
  readonly tokenType: string;
  /**
   * The thumbprint of the key that the session is bound to, taken from the request's DPoP proof. For browsers, this is
   * the browser's binding.
   */
  readonly jkt: string;
  /** The SHA-256 hash of a browser session's cookie, in hex. */
  readonly cookieHash?: string;
  readonly event: AuditEvent;
}

/** The maximum age of an ID token in seconds. An operator who signs in has only just received the token. */
const MAX_TOKEN_AGE = 600;

/**
 * Opens a session for an operator.
 * @returns the session, and the operator with their current roles
 * @throws MeshpassError `proof_*`, `issuer_*`, `operator_no_role`, `operator_unauthorized`, `sign_in_ended`,
 *   `kubernetes_unavailable`, `store_unavailable`, `overloaded`
 */
export async function signIn(context: OperatorSignInContext, request: SignInRequest) {
  const { audit, clock, random, operatorSessions, publicUrl } = context;
  const { event } = request;
  annotateEvent(event, { proofHash: sha256Hex(request.token) });
  const access = context.access();
  const { operators } = access;
  if (!operators || !context.proofs) throw operatorUnauthorizedError();
  const { replay, endsAt, ...who } = await prove({ ...context.proofs, clock, publicUrl, access }, request);
  const { subject, login, issuer, attestation } = who;
  annotateEvent(event, { subject, login, issuer });
  refuseWithoutRole(who, access);
  const openedAt = clock();
  const latest = Math.floor(openedAt / 1000) + operators.session;
  const session: OperatorSession = {
    ...who,
    id: uuidv7(clock, random),
    jkt: request.jkt,
    source: event.source,
    openedAt,
    expiresAt: Math.min(latest, endsAt ?? latest),
  };
  if (attestation) operatorSessions.refuseSignedOut(attestation);
  if (!operatorSessions.hasPlace(subject))
    throw new MeshpassError('overloaded', 'Too many operators are signed in. Try again later.', { retryAfter: 60 });
  const caller = callerOf(session, access);
  annotateEvent(event, {
    rule: formatRoles(caller),
    reason: `${nameOf(caller)} signed in as ${caller.roles.map(({ role }) => role).join(', ')}.`,
    detail: { operator_session: session.id, expires_at: timestamp(session.expiresAt) },
  });
  await recordAllowed(audit, event, (tx) => tx.once(replay));
  // This throws if the person has signed out during the write.
  operatorSessions.add(session, request.cookieHash);
  return { session, caller };
}

/** The verified identity of an operator. */
interface Proven
  extends Pick<OperatorSession, 'kind' | 'issuer' | 'subject' | 'login' | 'attestation' | 'confirmedAt'> {
  readonly replay?: AttestationResult['replay'];
  /** When the proof expires, in Unix seconds. Only set if the session must not outlive the proof. */
  readonly endsAt?: number | undefined;
}

interface Proving extends OperatorSignInDependencies, Pick<OperatorSignInContext, 'clock' | 'publicUrl'> {
  readonly access: Access;
}

async function prove(proving: Proving, request: SignInRequest): Promise<Proven> {
  if (request.tokenType === JWT_TOKEN_TYPE) return await proveServiceAccount(proving, request);
  if (request.tokenType === ID_TOKEN_TYPE) return await provePerson(proving, request);
  throw new MeshpassError(
    'proof_type_unsupported',
    `Operators must sign in with an ID token (${ID_TOKEN_TYPE}) or a ServiceAccount token (${JWT_TOKEN_TYPE}).`,
  );
}

async function provePerson({ keys, clock, access }: Proving, { token, jkt }: SignInRequest): Promise<Proven> {
  const { attestation, replay, given } = await verifyOperatorIdToken(token, access, { keys, clock });
  const now = toUnixSeconds(clock);
  if (given < now - MAX_TOKEN_AGE)
    throw new MeshpassError('proof_expired', 'This ID token is older than ten minutes. Sign in again.');
  refuseForeign(attestation, jkt, access.operators?.deviceFlow === true);
  const { issuer, subject, login } = attestation;
  const confirmedAt = confirmationStart(given, now);
  return { kind: 'person', issuer, subject, login, attestation, confirmedAt, replay };
}

/** Rejects an ID token that was issued for a different sign-in. */
function refuseForeign({ claims }: Attestation, jkt: string, withoutNonce: boolean): void {
  // See OpenID Connect Core section 3.1.2.1. The nonce is derived from the key, so a stolen token is useless without
  // that key, and an attacker cannot trick another person into signing in to the attacker's session.
  if (claims.nonce === undefined && withoutNonce) return;
  if (claims.nonce !== operatorNonce(jkt))
    throw new MeshpassError(
      'proof_rejected',
      claims.nonce === undefined
        ? 'This ID token is missing the nonce claim. If the issuer omits it in the device flow, set "operators.deviceFlow: true" in the access file, or sign in without --device.'
        : 'This ID token belongs to a different sign-in (nonce). Sign in again.',
    );
}

async function proveServiceAccount(
  { reviewToken, clock, publicUrl, access }: Proving,
  { token }: SignInRequest,
): Promise<Proven> {
  // Skip the TokenReview if no ServiceAccount can have a role.
  if (!reviewToken || access.operators?.serviceAccounts.length === 0) throw operatorUnauthorizedError();
  const user = await reviewToken(token, publicUrl);
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user ?? '') ?? [];
  if (namespace === undefined || name === undefined)
    throw new MeshpassError(
      'proof_rejected',
      `Kubernetes rejected this ServiceAccount token. It must be valid and issued for the audience ${publicUrl}.`,
      { detail: { asked: true } },
    );
  const [subject, login] = [`kubernetes:${namespace}:${name}`, `${namespace}/${name}`];
  const endsAt = expiryOf(token);
  if (endsAt !== undefined && endsAt <= toUnixSeconds(clock))
    throw new MeshpassError('proof_expired', 'This token has expired. Get a new one.');
  return { kind: 'service-account', issuer: 'kubernetes', subject, login, confirmedAt: toUnixSeconds(clock), endsAt };
}

/** Returns the `exp` claim of a token that Kubernetes has already accepted. */
function expiryOf(token: string): number | undefined {
  try {
    return decodeJwt(token).exp;
  } catch {
    return undefined;
  }
}

function refuseWithoutRole(who: Omit<Proven, 'replay'>, access: Access): void {
  const { roles, refusals } = currentRoles(who, access);
  if (roles.length > 0) return;
  throw new MeshpassError(
    'operator_no_role',
    `You signed in, but no entry under "operators" in the access file gives you a role. Ask ${access.contact ?? 'its owners'}.`,
    {
      detail: { reason: refusals.join('; ') },
      ...(access.contact !== undefined && { members: { contact: access.contact } }),
    },
  );
}

/** Returns the issuers that operators can sign in with. */
export function operatorIssuers({ trust, operators }: Access) {
  return operators ? trust.issuers.flatMap((one) => (one.signIn ? [{ ...one, signIn: one.signIn }] : [])) : [];
}

/** Creates the error for kinds of sign-in that the access file does not allow. */
export function operatorUnauthorizedError(): MeshpassError {
  return new MeshpassError(
    'operator_unauthorized',
    'The access file does not allow this kind of sign-in: "operators" has no matching entry.',
  );
}
