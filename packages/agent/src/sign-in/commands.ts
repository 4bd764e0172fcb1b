/** What `meshpass login` and `meshpass logout` ask of the agent. */
import { MeshpassError } from '@meshpass/identity/error';
import type { SignInsResponse } from '@meshpass/identity/sign-in/wire';
import type { SignInPrompt } from './device-flow.ts';
import type { SignIns } from './sign-ins.ts';

/** On the control socket. */
export type SignInRequest =
  /** `issuer` absent: the one that the session's grants lack, or all of them. */
  | { readonly command: 'sign-in' | 'sign-out'; readonly issuer?: string }
  /** Waits for the end of a sign-in that has begun. */
  | { readonly command: 'sign-in-result'; readonly issuer: string }
  /** Which grants the session would have if it had a sign-in more. */
  | { readonly command: 'sign-in-lacking' };

/** A grant that lacks nothing but a sign-in at this issuer. */
export type LackingSignIn = SignInsResponse['lacking'][number];

/** Answers of the agent: to `sign-in`, to `sign-in-result`, to `sign-out`, to `sign-in-lacking`. */
export type SignInAnswer =
  | SignInPrompt
  | { readonly done: boolean }
  | { readonly signedOut: readonly string[] }
  | { readonly lacking: readonly LackingSignIn[] };

export function isSignIn<Request extends { readonly command: string }>(
  request: Request | SignInRequest,
): request is SignInRequest {
  return request.command.startsWith('sign-');
}

/** Less than the patience of the control socket, ms. */
const PATIENCE_MS = 15_000;

export async function signInCommand(signIns: SignIns, request: SignInRequest): Promise<SignInAnswer> {
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

/** The one that the session's grants lack, or where they lack none the only one there is. @throws MeshpassError usage */
async function onlyIssuer(signIns: SignIns): Promise<string> {
  const { lacking, issuers } = await signIns.ofSession();
  const wanted = [...new Set(lacking.map(({ issuer }) => issuer))];
  const among = wanted.length > 0 || !issuers ? wanted : issuers;
  const [first, ...more] = among;
  if (first !== undefined && more.length === 0) return first;
  if (first !== undefined)
    throw new MeshpassError('usage', `Name the issuer: meshpass login --issuer NAME, one of ${among.join(', ')}.`);
  throw new MeshpassError(
    'usage',
    issuers
      ? 'The access file has no issuer at which people sign in (trust.issuers with "signIn").'
      : 'Name the issuer: meshpass login --issuer NAME (none of your grants lacks a sign-in).',
  );
}
