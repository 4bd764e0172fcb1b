/**
 * The exchange of an ID token, or of a ServiceAccount's token, for a session of an operator (RFC 8693). In this order: who is it, has
 * the access file a role for them, is there room, write it with its row. The first step that refuses ends it.
 */

import { type Access, operatorRoles, serviceAccountRoles } from '@meshpass/access';
import { type Attestation, ID_TOKEN_TYPE, JWT_TYPE, MeshpassError, operatorNonce } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Attested } from '../attest/attested.ts';
import type { IssuerHttpOptions } from '../attest/issuer-http.ts';
import { countsFrom } from '../attest/oidc/freshness.ts';
import type { IssuerKeys } from '../attest/oidc/issuer-keys.ts';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import type { KeyedMutex } from '../limits/keyed-mutex.ts';
import type { RecentLogouts } from '../sign-in/recent-logouts.ts';
import { nameOf, type OperatorCaller, ruleOf } from './caller.ts';
import type { EndContext } from './end-sessions.ts';
import { attestPerson } from './person.ts';
import {
  callerOf,
  MAX_OPERATOR_SESSIONS,
  MAX_PER_SUBJECT,
  newOperatorSession,
  type OperatorSession,
  operatorSessionRow,
} from './sessions.ts';
import { endIfSignedOut, refuseSignedOut } from './signed-out.ts';

/** How operators prove who they are; made by the caller, because it depends on the installation. */
export interface OperatorProofs {
  /** Keys of issuers. */
  readonly keys: IssuerKeys;
  /** How issuers are asked when a browser signs in; absent: none can. */
  readonly http?: IssuerHttpOptions;
  /** TokenReview for an audience: the user name behind a ServiceAccount's token; absent: no ServiceAccount is an operator. */
  readonly reviewToken?: (token: string, audience: string) => Promise<string | undefined>;
}

export interface SignInContext extends EndContext {
  readonly audit: AuditContext;
  readonly recentLogouts: RecentLogouts;
  /** One confirmation of a session at a time. */
  readonly confirming: KeyedMutex;
  /** Absent: nobody can sign in here. */
  readonly proofs: OperatorProofs | undefined;
  readonly publicUrl: string;
  /** @throws MeshpassError while no access file is in force */
  readonly access: () => Access;
}

export interface SignInRequest {
  readonly token: string;
  /** RFC 8693 section 3. */
  readonly tokenType: string;
  /** Thumbprint of the key that made the request's DPoP proof: the session is bound to it. */
  readonly jkt: string;
  readonly event: AuditEvent;
}

export interface SignedIn {
  readonly session: OperatorSession;
  readonly token: string;
  readonly caller: OperatorCaller;
}

/** Seconds that an ID token may be old: whoever signs in has just got it. */
const MAX_TOKEN_AGE = 600;

type Who = Pick<OperatorSession, 'kind' | 'issuer' | 'subject' | 'login' | 'attestation' | 'confirmedAt'>;

/** @returns refused with `proof_*`, `issuer_*`, `operator_no_role`, `operator_unauthorized`, `overloaded` */
export async function signIn(context: SignInContext, request: SignInRequest): Promise<Outcome<SignedIn>> {
  let event: AuditEvent = { ...request.event, proofHash: sha256Hex(request.token) };
  try {
    const access = context.access();
    const { operators } = access;
    if (!operators || !context.proofs) throw nobody();
    const proven = await prove(context.proofs, context, request, access);
    const { who } = proven;
    event = { ...event, subject: who.subject, login: who.login, issuer: who.issuer };
    refuseWithoutRole(who, access);
    const life = Math.min(operators.session, (proven.endsAt ?? Number.POSITIVE_INFINITY) - seconds(context.clock));
    const made = newOperatorSession(
      { ...who, jkt: request.jkt, source: event.source },
      life,
      context.clock,
      context.random,
    );
    return await open(context, made, access, proven.replay, event);
  } catch (thrown) {
    return refused(event, thrown);
  }
}

async function open(
  context: SignInContext,
  { session, token }: Pick<SignedIn, 'session' | 'token'>,
  access: Access,
  replay: Attested['replay'] | undefined,
  asked: AuditEvent,
): Promise<Outcome<SignedIn>> {
  const { audit, sessions, clock, recentLogouts } = context;
  refuseSignedOut(recentLogouts, session.attestation);
  const all = sessions.all();
  const own = all.filter(({ subject }) => subject === session.subject).sort((a, b) => a.openedAt - b.openedAt);
  const replaced = own.slice(0, Math.max(0, own.length - MAX_PER_SUBJECT + 1));
  if (all.length - replaced.length >= MAX_OPERATOR_SESSIONS)
    throw new MeshpassError('overloaded', 'Too many operators are signed in; try again.', { retryAfter: 60 });
  const caller = callerOf(session, access);
  const rule = ruleOf(caller);
  const event = {
    ...asked,
    rule,
    reason: `${nameOf(caller)} signed in as ${caller.roles.map(({ role }) => role).join(', ')}.`,
    detail: {
      operator_session: session.id,
      expires_at: timestamp(session.expiresAt),
      ...(replaced.length > 0 && { replaced: replaced.map(({ id }) => id) }),
    },
  };
  const closed_at = timestamp(seconds(clock));
  const written = await recordGrant(audit, event, {
    ...(replay && { replay }),
    operator: operatorSessionRow(session),
    operatorsClosed: replaced.map(({ id }) => ({ id, closed_at, close_cause: 'replaced' })),
  });
  if (!written.granted) return written;
  for (const { id } of replaced) sessions.remove(id);
  sessions.add(session);
  // While the store was writing.
  await endIfSignedOut(context, session);
  return granted(event, { session, token, caller });
}

interface Proven {
  readonly who: Who;
  readonly replay?: Attested['replay'];
  /** Unix seconds at which the proof ends, where the session must not outlive it. */
  readonly endsAt?: number;
}

async function prove(
  proofs: OperatorProofs,
  context: SignInContext,
  request: SignInRequest,
  access: Access,
): Promise<Proven> {
  if (request.tokenType === JWT_TYPE) return await proveServiceAccount(proofs, context, request, access);
  if (request.tokenType === ID_TOKEN_TYPE) return await provePerson(proofs, context, request, access);
  throw new MeshpassError(
    'proof_type_unsupported',
    `Operators prove who they are with an ID token (${ID_TOKEN_TYPE}) or a ServiceAccount's token (${JWT_TYPE}).`,
  );
}

async function provePerson(
  { keys }: OperatorProofs,
  { clock }: SignInContext,
  { token, jkt }: SignInRequest,
  access: Access,
): Promise<Proven> {
  const { attestation, replay, given } = await attestPerson(token, access, { keys, clock });
  const now = seconds(clock);
  refuseForeign(attestation, jkt, now, access.operators?.deviceFlow === true);
  const { issuer, subject, login } = attestation;
  const confirmedAt = countsFrom(given, now);
  return { who: { kind: 'person', issuer, subject, login, attestation, confirmedAt }, replay };
}

/** A token of another sign-in, or of some time ago. */
function refuseForeign({ claims }: Attestation, jkt: string, now: number, withoutNonce: boolean): void {
  if (typeof claims.iat !== 'number' || claims.iat < now - MAX_TOKEN_AGE)
    throw new MeshpassError('proof_expired', 'This ID token is older than ten minutes; sign in again.');
  // OpenID Connect Core section 3.1.2.1. The nonce is made of the key, so that who gets hold of the token alone cannot use it, and
  // nobody can have another sign in to a session of theirs.
  if (claims.nonce === undefined && withoutNonce) return;
  if (claims.nonce !== operatorNonce(jkt))
    throw new MeshpassError(
      'proof_rejected',
      claims.nonce === undefined
        ? 'This ID token has no nonce. An issuer that gives none in its device flow needs "operators.deviceFlow: true" in the access file; or sign in without --device.'
        : 'This ID token is of another sign-in (nonce); sign in again.',
    );
}

async function proveServiceAccount(
  { reviewToken }: OperatorProofs,
  { clock, publicUrl }: SignInContext,
  { token }: SignInRequest,
  access: Access,
): Promise<Proven> {
  // Kubernetes need not be asked where no ServiceAccount could have a role.
  if (!reviewToken || access.operators?.serviceAccounts.length === 0) throw nobody();
  const user = await reviewToken(token, publicUrl);
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user ?? '') ?? [];
  if (namespace === undefined || name === undefined)
    throw new MeshpassError(
      'proof_rejected',
      `Kubernetes does not accept this token of a ServiceAccount; it must be for the audience ${publicUrl} and still valid.`,
    );
  const subject = `kubernetes:${namespace}:${name}`;
  const endsAt = expiryOf(token);
  if (endsAt !== undefined && endsAt <= seconds(clock))
    throw new MeshpassError('proof_expired', 'This token has expired; obtain a new one.');
  return {
    who: {
      ...{ kind: 'service-account', issuer: 'kubernetes', subject, login: `${namespace}/${name}` },
      confirmedAt: seconds(clock),
    },
    ...(endsAt !== undefined && { endsAt }),
  };
}

/** `exp` of a token that Kubernetes has accepted. */
function expiryOf(token: string): number | undefined {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      exp?: unknown;
    };
    return typeof claims.exp === 'number' ? claims.exp : undefined;
  } catch {
    return undefined;
  }
}

function refuseWithoutRole({ kind, subject, attestation }: Who, access: Access): void {
  const [, namespace = '', name = ''] = subject.split(':');
  const decided =
    kind === 'person' ? operatorRoles(attestation!, access) : serviceAccountRoles(namespace, name, access);
  if (decided.roles.length > 0) return;
  throw new MeshpassError(
    'operator_no_role',
    'You signed in, but no entry of "operators" in the access file gives you a role. Ask who maintains it.',
    { detail: { reason: decided.refusals.join('; ') } },
  );
}

export function nobody(): MeshpassError {
  return new MeshpassError(
    'operator_unauthorized',
    'Nobody can sign in like this: the access file has no "operators" with such an entry.',
  );
}
