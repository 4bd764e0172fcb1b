/** Combines proofs with sign-ins. A sign-in is either added to the workspace's proof, or replaces it. */
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import {
  type DiscoverOptions,
  discoverProofSource,
  type HostEnvironment,
  type ProofSource,
} from '../session/discover.ts';
import type { SignIns } from './sign-ins.ts';

/**
 * Returns the proof source of this workspace. If the user signs in first, no other proof is needed.
 * @throws MeshpassError agent_prebuild, agent_no_identity
 */
export function selectProofSource(
  options: DiscoverOptions & { readonly signIn?: string | undefined },
  surroundings: HostEnvironment,
  signIns: () => SignIns,
): ProofSource {
  try {
    return withSignIns(discoverProofSource(options, surroundings), signIns);
  } catch (thrown) {
    const { code } = toMeshpassError(thrown);
    if (options.signIn === undefined || code !== 'agent_no_identity') throw thrown;
    return signInSource(signIns, options.signIn);
  }
}

/**
 * Creates a proof source that uses a sign-in as the proof.
 * @param issuer the name of the issuer
 */
function signInSource(signIns: () => SignIns, issuer: string): ProofSource {
  return {
    kind: 'sign-in',
    proof: async () => {
      const waiting = signIns().takeWaiting();
      if (!waiting)
        throw new MeshpassError(
          'sign_in_required',
          `A new session requires a new sign-in at ${issuer}: run meshpass sign-in --issuer ${issuer}.`,
        );
      return { type: 'oidc', token: waiting.token };
    },
  };
}

/** Adds a sign-in to the proofs of a Codespace, unless a session already includes it. */
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
