/**
 * Exchanges an ID token or a ServiceAccount token for an operator session (RFC 8693). The steps are: verify the
 * identity, find its roles in the access file, check the limits, and store the audit row. The first refusal ends the
 * exchange. Sessions are not written to the store. The command keeps its session as a token, and the broker keeps page
 * sessions in memory.
 */

import type { Access } from '@meshpass/access';
import { type Attestation, ID_TOKEN_TYPE, JWT_TOKEN_TYPE, MeshpassError, operatorNonce } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { decodeJwt } from 'jose';
import { type AuditContext, type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { timestamp, toUnixSeconds, uuidv7 } from '../../base/index.ts';
import {
  type AttestationResult,
  confirmationStart,
  type IssuerHttpOptions,
  type IssuerKeys,
  verifyOperatorIdToken,
} from '../../issuers/index.ts';
import { formatRoles, nameOf, type OperatorCaller, type OperatorSession } from './caller.ts';
import {
  type EndSessionsContext,
  isOperatorSessionEnded,
  requireNotSignedOut,
  signInEndedError,
} from './end-sessions.ts';
import type { OperatorTokens } from './operator-token.ts';
import { callerOf, currentRoles, type labOnlyConfirmSeconds } from './sessions.ts';

/** Verifies operators' proofs. Created by the caller, because it depends on the installation. */
export interface OperatorSignInDependencies {
  /** Public keys of issuers. */
  readonly keys: IssuerKeys;
  /** HTTP options for requests to issuers during browser sign-ins; absent if browsers cannot sign in. */
  readonly http?: IssuerHttpOptions;
  /**
   * Uses TokenReview to find the user name for a ServiceAccount token with this audience. Absent if ServiceAccounts
   * cannot be operators.
   */
  readonly reviewToken?: (token: string, audience: string) => Promise<string | undefined>;
  readonly [labOnlyConfirmSeconds]?: () => number;
}

export interface OperatorSignInContext extends EndSessionsContext {
  readonly audit: AuditContext;
  readonly tokens: OperatorTokens;
  /** Absent if operators cannot sign in here. */
  readonly proofs: OperatorSignInDependencies | undefined;
  readonly publicUrl: string;
  /**
   * Returns the access file in force.
   * @throws MeshpassError if none is in force
   */
  readonly access: () => Access;
}

/** Request for an operator session. */
export interface SignInRequest {
  readonly token: string;
  /** Token type (RFC 8693 section 3). */
  readonly tokenType: string;
  /** Thumbprint of the key that the session is bound to, from the request's DPoP proof, or a browser's binding. */
  readonly jkt: string;
  /** SHA-256 of the cookie of a session on the page, hex. */
  readonly cookieHash?: string;
  readonly event: AuditEvent;
}

/** Maximum age of an ID token, seconds. An operator who signs in has just received it. */
const MAX_TOKEN_AGE = 600;

type Who = Pick<OperatorSession, 'kind' | 'issuer' | 'subject' | 'login' | 'attestation' | 'confirmedAt'>;

/**
 * Opens an operator session.
 * @throws MeshpassError `proof_*`, `issuer_*`, `operator_no_role`, `operator_unauthorized`, `sign_in_ended`,
 *   `overloaded`
 */
export async function signIn(
  context: OperatorSignInContext,
  request: SignInRequest,
): Promise<{ readonly session: OperatorSession; readonly caller: OperatorCaller }> {
  const { audit, clock, random, operatorSessions, recentLogouts } = context;
  const { event } = request;
  annotateEvent(event, { proofHash: sha256Hex(request.token) });
  const access = context.access();
  const { operators } = access;
  if (!operators || !context.proofs) throw operatorUnauthorizedError();
  const { who, replay, endsAt } = await prove(context.proofs, context, request, access);
  annotateEvent(event, { subject: who.subject, login: who.login, issuer: who.issuer });
  refuseWithoutRole(who, access);
  const openedAt = clock();
  const latest = Math.floor(openedAt / 1000) + operators.session;
  const session = {
    ...who,
    id: uuidv7(clock, random),
    jkt: request.jkt,
    source: event.source,
    openedAt,
    expiresAt: Math.min(latest, endsAt ?? latest),
  };
  requireNotSignedOut(recentLogouts, session.attestation);
  if (!operatorSessions.hasPlace(session.subject))
    throw new MeshpassError('overloaded', 'Too many operators are signed in. Try again later.', { retryAfter: 60 });
  const caller = callerOf(session, access);
  annotateEvent(event, {
    rule: formatRoles(caller),
    reason: `${nameOf(caller)} signed in as ${caller.roles.map(({ role }) => role).join(', ')}.`,
    detail: { operator_session: session.id, expires_at: timestamp(session.expiresAt) },
  });
  await recordAllowed(audit, event, (tx) => tx.once(replay));
  // The person may have signed out during the write.
  if (isOperatorSessionEnded(recentLogouts, session)) throw signInEndedError(session.issuer);
  operatorSessions.add(session, request.cookieHash);
  return { session, caller };
}

interface Proven {
  readonly who: Who;
  readonly replay?: AttestationResult['replay'];
  /** When the proof expires, Unix seconds, if the session must not outlive it. */
  readonly endsAt?: number | undefined;
}

async function prove(
  proofs: OperatorSignInDependencies,
  context: OperatorSignInContext,
  request: SignInRequest,
  access: Access,
): Promise<Proven> {
  if (request.tokenType === JWT_TOKEN_TYPE) return await proveServiceAccount(proofs, context, request, access);
  if (request.tokenType === ID_TOKEN_TYPE) return await provePerson(proofs, context, request, access);
  throw new MeshpassError(
    'proof_type_unsupported',
    `Operators must sign in with an ID token (${ID_TOKEN_TYPE}) or a ServiceAccount token (${JWT_TOKEN_TYPE}).`,
  );
}

async function provePerson(
  { keys }: OperatorSignInDependencies,
  { clock }: OperatorSignInContext,
  { token, jkt }: SignInRequest,
  access: Access,
): Promise<Proven> {
  const { attestation, replay, given } = await verifyOperatorIdToken(token, access, { keys, clock });
  const now = toUnixSeconds(clock);
  if (given < now - MAX_TOKEN_AGE)
    throw new MeshpassError('proof_expired', 'This ID token is older than ten minutes. Sign in again.');
  refuseForeign(attestation, jkt, access.operators?.deviceFlow === true);
  const { issuer, subject, login } = attestation;
  const confirmedAt = confirmationStart(given, now);
  return { who: { kind: 'person', issuer, subject, login, attestation, confirmedAt }, replay };
}

/** Refuses an ID token from a different sign-in. */
function refuseForeign({ claims }: Attestation, jkt: string, withoutNonce: boolean): void {
  // OpenID Connect Core section 3.1.2.1. The nonce is derived from the key, so a stolen token is useless without the
  // key, and an attacker cannot make another person sign in to the attacker's session.
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
  { reviewToken }: OperatorSignInDependencies,
  { clock, publicUrl }: OperatorSignInContext,
  { token }: SignInRequest,
  access: Access,
): Promise<Proven> {
  // Avoids a TokenReview if no ServiceAccount can have a role.
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
  return {
    who: { kind: 'service-account', issuer: 'kubernetes', subject, login, confirmedAt: toUnixSeconds(clock) },
    endsAt,
  };
}

/** Returns the `exp` claim of a token that Kubernetes has accepted. */
function expiryOf(token: string): number | undefined {
  try {
    return decodeJwt(token).exp;
  } catch {
    return undefined;
  }
}

function refuseWithoutRole(who: Who, access: Access): void {
  const decided = currentRoles(who, access);
  if (decided.roles.length > 0) return;
  throw new MeshpassError(
    'operator_no_role',
    `You signed in, but no entry under "operators" in the access file gives you a role. Ask ${access.contact ?? 'its owners'}.`,
    {
      detail: { reason: decided.refusals.join('; ') },
      ...(access.contact !== undefined && { members: { contact: access.contact } }),
    },
  );
}

/** Builds the error for proofs that the access file does not support. */
export function operatorUnauthorizedError(): MeshpassError {
  return new MeshpassError(
    'operator_unauthorized',
    'The access file does not allow this kind of sign-in: "operators" has no matching entry.',
  );
}
