/**
 * The mesh's RequestAuthentication. It makes every sidecar recognize identity tokens and does not affect requests
 * without one.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import type { IdentityTokens, Manifest } from '../model.ts';
import { metadata } from './metadata.ts';

/** Request headers for the application, by identity token claim. Envoy first removes these headers from requests. */
export const CLAIM_HEADERS = {
  sub: 'x-meshpass-sub',
  login: 'x-meshpass-login',
  sid: 'x-meshpass-session',
  workspace: 'x-meshpass-workspace',
} as const;

/**
 * Compiles the RequestAuthentication.
 * @throws MeshpassError `config_invalid` if the JWKS has no key, or a private one
 */
export function requestAuthentication(mesh: Mesh, tokens: IdentityTokens): Manifest {
  checkJwks(tokens.jwks);
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    metadata: metadata('meshpass', mesh.rootNamespace),
    spec: {
      jwtRules: [
        {
          issuer: tokens.issuer,
          audiences: [tokens.audience],
          jwks: tokens.jwks,
          fromHeaders: [{ name: tokens.header }],
          forwardOriginalToken: false,
          outputClaimToHeaders: Object.entries(CLAIM_HEADERS).map(([claim, header]) => ({ header, claim })),
        },
      ],
    },
  };
}

/**
 * Checks the JWKS. Without inline keys, istiod would fetch them from the issuer. Private keys would be sent to every
 * Envoy.
 */
function checkJwks(text: string): void {
  const problem = whatIsWrong(text);
  if (problem) throw new MeshpassError('config_invalid', `Cannot publish the identity token keys: ${problem}.`);
}

function whatIsWrong(text: string): string | undefined {
  try {
    const keys = (JSON.parse(text) as { readonly keys?: unknown } | null)?.keys;
    if (!Array.isArray(keys) || keys.length === 0) return 'the JWKS contains no keys';
    const isSecret = (key: unknown) => typeof key !== 'object' || key === null || 'd' in key || 'k' in key;
    return keys.some(isSecret) ? 'the JWKS contains a private or symmetric key' : undefined;
  } catch {
    return 'the JWKS is not valid JSON';
  }
}
