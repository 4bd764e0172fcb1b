/** A proof with a sign-in beside it, or a sign-in where the workspace has no other proof. */
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type DiscoverOptions, discover, type ProofSource, type Surroundings } from '../session/discover.ts';
import type { SignIns } from './sign-ins.ts';

/**
 * Where the proofs of this workspace come from. Who signs in first needs no other proof.
 * @throws MeshpassError agent_prebuild, agent_no_identity
 */
export function proofsOf(
  options: DiscoverOptions & { readonly signIn?: string | undefined },
  surroundings: Surroundings,
  signIns: () => SignIns,
): ProofSource {
  try {
    return withSignIns(discover(options, surroundings), signIns);
  } catch (thrown) {
    const { code } = toMeshpassError(thrown);
    if (options.signIn === undefined || code !== 'agent_no_identity') throw thrown;
    return signInSource(signIns, options.signIn);
  }
}

/** @param issuer name of the issuer whose sign-in is the proof */
function signInSource(signIns: () => SignIns, issuer: string): ProofSource {
  return {
    kind: 'sign-in',
    proof: async () => {
      const waiting = signIns().takeWaiting();
      if (!waiting)
        throw new MeshpassError(
          'sign_in_required',
          `A new session needs a new sign-in at ${issuer}: run meshpass login --issuer ${issuer}.`,
        );
      return { type: 'oidc', token: waiting.token };
    },
  };
}

/** Adds a sign-in that waits for a session to the proofs of a Codespace. */
function withSignIns(source: ProofSource, signIns: () => SignIns): ProofSource {
  if (source.kind !== 'codespace') return source;
  return {
    kind: source.kind,
    proof: async () => {
      const proof = await source.proof();
      const signIn = signIns().takeWaiting();
      return signIn && proof.type === 'github-codespace' ? { ...proof, signIn } : proof;
    },
  };
}
