/**
 * `POST /token` with a proof (RFC 8693): the exchange of a proof for a session. The route has authenticated the client's key by its
 * DPoP proof. Here, in this order: attest the proof, authorize the attestation, write the session with its audit row, answer. The
 * first step that refuses ends the exchange; http/route.ts writes the refusal to the audit log.
 */
import type { Access } from '@meshpass/access';
import { type Attestation, exchangeOf, MeshpassError, type SessionResponse, toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { type Attest, type AttestSignIn, readProof } from '../attest/attest.ts';
import { type Attested, type Evidence, IdentifiedRefusal } from '../attest/attested.ts';
import { unknownIssuer } from '../attest/oidc/sign-in.ts';
import type { Presenter } from '../attest/presence/presence.ts';
import { printable } from '../attest/printable.ts';
import { granted, type Outcome, refused } from '../audit/log/decision.ts';
import { type AuditEvent, identityMembers } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import { type KeyedMutex, runExclusive } from '../limits/keyed-mutex.ts';
import { type Answers, kubernetesAccess, meshInfo, sessionInfo } from '../session/answers.ts';
import { type AuthorizeContext, authorizeSession } from '../session/authorize.ts';
import { recheckOpened } from '../session/drop-lost.ts';
import { type OpenContext, openSession } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import type { TokenForm } from './form.ts';

export interface ExchangeContext extends AuthorizeContext, OpenContext {
  readonly attest: Attest;
  /** Absent: nobody can sign in. */
  readonly attestSignIn?: AttestSignIn | undefined;
  readonly answers: Answers;
  /** One exchange at a time for a workspace. */
  readonly mutex: KeyedMutex;
  /** Called with each session that has opened, and the access file that it was decided by. */
  readonly onOpened?: (live: Live, decidedBy: Access) => void;
  /** Called with each attestation, and with each refusal of one: either may show that a live session has lost what it stands on. */
  readonly onEvidence?: (evidence: Evidence) => void;
}

export interface ExchangeRequest {
  readonly form: TokenForm;
  /** Thumbprint of the key that made the request's DPoP proof: the session is bound to it. */
  readonly jkt: string;
  /** That proof. */
  readonly dpop: string;
  /** Whether the client has closed its connection meanwhile. */
  readonly hungUp: () => boolean;
  readonly event: AuditEvent;
}

/** @returns refused with what attest(), authorizeSession() and openSession() refuse with, and `request_timeout` */
export async function exchangeProof(
  context: ExchangeContext,
  request: ExchangeRequest,
): Promise<Outcome<SessionResponse>> {
  const attested = await attestProof(context, request);
  if (!attested.granted) return attested;
  const { attestation } = attested.value;

  // One at a time for a workspace: of two arrivals the later replaces the earlier, in memory as in the store.
  return await runExclusive(context.mutex, attestation.workspace.key, async () => {
    // Its agent has lost patience, and may hold a session of a later request: one that nobody will hold must not replace that.
    if (request.hungUp()) return refused(attested.event, hungUp());

    const authorized = await authorizeSession(context, { ...attested.value, jkt: request.jkt, event: attested.event });
    if (!authorized.granted) return authorized;
    const { session, token } = authorized.value;

    const opened = await openSession(context, { session, replay: attested.value.replay, event: authorized.event });
    if (!opened.granted) return opened;

    try {
      await recheckOpened(context, opened.value, authorized.value);
      context.onOpened?.(opened.value, authorized.value.access);
      return granted(opened.event, answer(context, opened.value, token));
    } catch (thrown) {
      // Nobody got its token: it ends with its lease, or when its workspace asks again.
      return refused(opened.event, thrown);
    }
  });
}

/** The attestation, and what goes with it: the count of losses at which its issuer was asked, and the key of a proof for one use. */
interface Proven {
  readonly attestation: Attestation;
  readonly replay: Attested['replay'] | undefined;
  readonly asked: number;
}

async function attestProof(context: ExchangeContext, request: ExchangeRequest): Promise<Outcome<Proven>> {
  const { form, jkt, dpop } = request;
  const event = { ...request.event, proofHash: sha256Hex(form.subjectToken) };
  try {
    refuseParameters(form);
    const proof = readProof(form.subjectTokenType, form.subjectToken, form.codespaceName);
    const asked = context.losses.now();
    const presenter = { jkt, source: event.source ?? '', presence: presenceOf(form, dpop) };
    const { replay: once, presence, ...attested } = await context.attest(proof, presenter);
    const proven = printableOrIdentified(attested.attestation);
    context.onEvidence?.({ attestation: proven });
    const { attestation, replay } = await withSignIn(context, request, proven, once);
    const detail = { attestor: attestation.attestor, workspace: attestation.workspace, presence };
    return granted({ ...event, ...identityMembers(attestation), detail }, { attestation, asked, replay });
  } catch (thrown) {
    const codespaceId = thrown instanceof MeshpassError ? thrown.detail.codespace : undefined;
    if (typeof codespaceId === 'number') context.onEvidence?.({ codespaceId });
    const identity = thrown instanceof IdentifiedRefusal ? identityMembers(thrown.identity) : {};
    return refused({ ...event, ...identity }, thrown);
  }
}

/** Adds the sign-in that came with the proof. A refusal of it names whose proof it came with. */
async function withSignIn(
  { attestSignIn }: ExchangeContext,
  { form: { signIn: given }, jkt }: ExchangeRequest,
  attestation: Attestation,
  replay: Attested['replay'],
): Promise<Pick<Proven, 'attestation' | 'replay'>> {
  if (!given) return { attestation, replay };
  try {
    if (!attestSignIn) throw unknownIssuer(given.issuer);
    if (replay)
      throw new MeshpassError(
        'request_malformed',
        'A sign-in cannot come with this proof; open the session, then sign in.',
      );
    const { signIn, replay: once } = await attestSignIn(given.issuer, given.token, { jkt });
    return { attestation: { ...attestation, signIns: [signIn] }, replay: once };
  } catch (thrown) {
    throw new IdentifiedRefusal(toMeshpassError(thrown), attestation);
  }
}

/** The issuer has said who it is, so that the refusal names them: auditRow() makes the text fit to print. */
function printableOrIdentified(attestation: Attestation): Attestation {
  try {
    return printable(attestation);
  } catch (thrown) {
    throw new IdentifiedRefusal(toMeshpassError(thrown), attestation);
  }
}

function presenceOf({ presence }: TokenForm, dpop: string): Presenter['presence'] {
  if (presence?.nonce === undefined) return presence && { exchange: exchangeOf(dpop), port: presence.port };
  return { nonce: presence.nonce, port: presence.port };
}

function refuseParameters({ requestedTokenType, audience }: TokenForm): void {
  if (requestedTokenType !== undefined && requestedTokenType !== ACCESS_TOKEN)
    throw new MeshpassError(
      'request_malformed',
      'A proof can only be exchanged for a session; omit requested_token_type.',
    );
  if (audience !== undefined)
    throw new MeshpassError('request_malformed', 'The parameter audience is for session tokens, not for proofs.');
}

function hungUp(): MeshpassError {
  return new MeshpassError(
    'request_timeout',
    'The client disconnected before its session could be opened; none was opened.',
  );
}

function answer(context: ExchangeContext, { session }: Live, token: string): SessionResponse {
  const kubernetes = kubernetesAccess(context.answers, session);
  return {
    access_token: token,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'DPoP',
    expires_in: session.expiresAt - seconds(context.clock),
    session: sessionInfo(context.answers, session),
    mesh: meshInfo(context.answers),
    services: [...context.mesh.services(session.grants.map((grant) => grant.name))],
    ...(kubernetes && { kubernetes }),
  };
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
