/** `POST /token` with a proof: prove, authorize, open a session (RFC 8693). */
import { MeshpassError, type SessionResponse } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { type Attest, readProof } from '../attest/attest.ts';
import type { Evidence } from '../attest/attested.ts';
import type { Presenter } from '../attest/presence/presence.ts';
import { printable } from '../attest/printable.ts';
import type { Commit } from '../audit/log/audited.ts';
import type { Draft } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import { type Answers, meshInfo, sessionInfo } from '../session/answers.ts';
import { type OpenContext, openSession } from '../session/open.ts';
import type { TokenForm } from './form.ts';

export interface ExchangeContext extends OpenContext {
  readonly attest: Attest;
  readonly answers: Answers;
  /** Told of each attestation, and of each refusal of one: either may show that a live session has lost what it stands on. */
  readonly onEvidence?: (evidence: Evidence) => void;
}

/**
 * @param jkt thumbprint of the key that made the request's DPoP proof: the session is bound to it
 * @param hungUp whether the client has closed its connection meanwhile
 * @throws MeshpassError everything that attest() and openSession() throw
 */
export async function exchangeProof(
  context: ExchangeContext,
  form: TokenForm,
  jkt: string,
  hungUp: () => boolean,
  draft: Draft,
  commit: Commit,
): Promise<SessionResponse> {
  draft.proofHash = sha256Hex(form.subjectToken);
  if (form.requestedTokenType !== undefined && form.requestedTokenType !== ACCESS_TOKEN)
    throw new MeshpassError(
      'request_malformed',
      'A proof is exchanged for a session only; leave requested_token_type out.',
    );
  if (form.audience !== undefined)
    throw new MeshpassError('request_malformed', 'The parameter audience goes with a session token, not with a proof.');
  const proof = readProof(form.subjectTokenType, form.subjectToken, form.codespaceName);
  const identified: Presenter['identified'] = ({ issuer, subject, login, workspace }) => {
    Object.assign(draft, { issuer, subject, login, workspace: workspace.key });
  };
  const presenter = { jkt, source: draft.source ?? '', presence: form.presence, identified };
  const asked = context.losses.now();
  const attested = await context.attest(proof, presenter).catch((thrown: unknown) => {
    const codespaceId = thrown instanceof MeshpassError ? thrown.detail.codespace : undefined;
    if (typeof codespaceId === 'number') context.onEvidence?.({ codespaceId });
    throw thrown;
  });
  const { replay, presence } = attested;
  const attestation = printable(attested.attestation);
  context.onEvidence?.({ attestation });
  identified(attestation);
  draft.detail = { attestor: attestation.attestor, workspace: attestation.workspace, presence };

  const { live, token } = await openSession(context, { attestation, asked, jkt, replay, hungUp }, draft, commit);
  const { session } = live;
  return {
    access_token: token,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'DPoP',
    expires_in: session.expiresAt - seconds(context.clock),
    session: sessionInfo(context.answers, session),
    mesh: meshInfo(context.answers),
    services: [...context.mesh.services(session.grants.map((grant) => grant.name))],
  };
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
