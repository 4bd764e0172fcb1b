/** The commands that `meshpass sign-in` and `meshpass sign-out` send to the agent. */
import { MeshpassError } from '@meshpass/identity/error';
import type { SignInsResponse } from '@meshpass/identity/sign-in/wire';
import type { ControlRequest } from '../control-request.ts';
import type { SignInPrompt } from './device-flow.ts';
import type { SignIns } from './sign-ins.ts';

/** The requests on the control socket that concern sign-ins. */
export type SignInRequest = Extract<ControlRequest, { command: `sign-${string}` }>;

/** A grant that the session would gain if the user also signed in at this issuer. */
export type MissingSignIn = SignInsResponse['lacking'][number];

/** The agent's responses to `sign-in`, `sign-in-result`, `sign-out` and `sign-in-lacking`, in this order. */
export type SignInCommandResponse =
  | SignInPrompt
  | { readonly done: boolean }
  | { readonly signedOut: readonly string[] }
  | { readonly lacking: readonly MissingSignIn[] };

/** Returns whether a request on the control socket concerns sign-ins. */
export function isSignInRequest(request: ControlRequest): request is SignInRequest {
  return request.command.startsWith('sign-');
}

/** The maximum time to wait for a result, in milliseconds. It is shorter than the timeout of the control socket. */
const PATIENCE_MS = 15_000;

/**
 * Executes a sign-in command.
 * @throws MeshpassError usage, or the reason why the sign-in failed
 */
export async function runSignInCommand(signIns: SignIns, request: SignInRequest): Promise<SignInCommandResponse> {
  switch (request.command) {
    case 'sign-in':
      return signIns.begin(request.issuer ?? (await onlyIssuer(signIns)));
    case 'sign-in-result':
      return { done: await signIns.result(request.issuer, PATIENCE_MS) };
    case 'sign-out':
      return { signedOut: await signIns.signOut(request.issuer) };
    case 'sign-in-lacking':
      return { lacking: (await signIns.ofSession()).lacking };
  }
}

/**
 * Returns the only issuer that the session's grants still require. If they require none, returns the only issuer that
 * exists.
 * @throws MeshpassError usage
 */
async function onlyIssuer(signIns: SignIns): Promise<string> {
  const { lacking, issuers } = await signIns.ofSession();
  const wanted = [...new Set(lacking.map(({ issuer }) => issuer))];
  const among = wanted.length > 0 || !issuers ? wanted : issuers;
  const [first, ...more] = among;
  if (first !== undefined && more.length === 0) return first;
  if (first !== undefined)
    throw new MeshpassError('usage', `Specify the issuer: meshpass sign-in --issuer NAME, one of ${among.join(', ')}.`);
  throw new MeshpassError(
    'usage',
    issuers
      ? 'The access file has no issuer at which users can sign in (trust.issuers with "signIn").'
      : 'Specify the issuer: meshpass sign-in --issuer NAME (none of your grants is waiting for a sign-in).',
  );
}
