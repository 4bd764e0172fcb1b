/**
 * Builds the secrets that Envoy requests through SDS: a certificate for each grant, the root certificates and the
 * identity token. Private keys only exist in memory.
 */
import type { JsonObject } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFromJson, pack, SECRET } from '@meshpass/envoy';
import type { Credentials } from '../session/enrol.ts';

/**
 * The name of the secret with the mesh's root certificates. Secrets that are only used by the agent itself contain a
 * dot in their name, so they cannot collide with a grant.
 */
const MESH_ROOTS = 'roots';
export const EDGE_ROOTS = 'edge.roots';

/** The name of a secret that is always empty, so requests that depend on it are refused. */
export const NO_CREDENTIAL = 'no.credential';

/** Returns the name of the secret with the identity token for requests under a grant. */
export function tokenSecretName(grant: string): string {
  return `token.${grant}`;
}

/**
 * Builds the secrets from the credentials of a session.
 * @param edgeRoots the root certificates that verify the edge, as PEM
 * @param now the current time, in Unix milliseconds. Once the identity token or the certificate of a grant has
 *   expired, requests under the grant receive no token and are refused locally. Otherwise, existing connections would
 *   continue to carry them
 */
export function secretsOf(credentials: Credentials, edgeRoots: string, now: number): ReadonlyMap<string, Any> {
  const { svids, mesh, identityToken } = credentials;
  const secrets = new Map<string, Any>();
  const put = (name: string, secret: JsonObject) =>
    secrets.set(name, pack(messageFromJson(SECRET, { name, ...secret })));
  for (const { grant, chain, privateKey, expiresAt } of svids.values()) {
    put(grant, {
      tls_certificate: { certificate_chain: { inline_string: chain }, private_key: { inline_string: privateKey } },
    });
    const token = Math.min(expiresAt, identityToken.expiresAt) > now ? identityToken.value : '';
    put(tokenSecretName(grant), { generic_secret: { secret: { inline_string: token } } });
  }
  put(NO_CREDENTIAL, { generic_secret: { secret: { inline_string: '' } } });
  put(MESH_ROOTS, { validation_context: { trusted_ca: { inline_string: mesh.roots.join('\n') } } });
  put(EDGE_ROOTS, { validation_context: { trusted_ca: { inline_string: edgeRoots } } });
  return secrets;
}

/** Returns when the next credential expires, in Unix milliseconds, or undefined if all credentials have expired. */
export function nextExpiry({ svids, identityToken }: Credentials, now: number): number | undefined {
  const ends = [identityToken.expiresAt, ...[...svids.values()].map(({ expiresAt }) => expiresAt)].filter(
    (at) => at > now,
  );
  return ends.length === 0 ? undefined : Math.min(...ends);
}
