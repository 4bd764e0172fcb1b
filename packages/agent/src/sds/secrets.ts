/** What Envoy may ask for by SDS: a certificate for each grant, roots, the identity token. Keys are in memory only. */
import type { JsonObject } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageOf, pack, SECRET } from '@meshpass/envoy';
import type { Credentials } from '../session/enrol.ts';

/** Names of secrets that are no grant's. Those that the agent alone uses can be no grant's name: they have a dot. */
export const MESH_ROOTS = 'roots';
export const EDGE_ROOTS = 'edge.roots';
/** A credential that is never there. */
export const NO_CREDENTIAL = 'no.credential';

/** Name of the identity token as the requests under a grant carry it. */
export function tokenOf(grant: string): string {
  return `token.${grant}`;
}

/**
 * @param edgeRoots PEM of the roots that the edge is verified with
 * @param now milliseconds since the epoch: once the identity token or a grant's certificate has expired, requests under the grant get no
 *   token, and are refused here; over a connection that was made before they would go on
 */
export function secretsOf(credentials: Credentials, edgeRoots: string, now: number): ReadonlyMap<string, Any> {
  const { svids, mesh, identityToken } = credentials;
  const secrets = new Map<string, Any>();
  const put = (name: string, secret: JsonObject) => secrets.set(name, pack(messageOf(SECRET, { name, ...secret })));
  for (const { grant, chain, privateKey, expiresAt } of svids.values()) {
    put(grant, {
      tls_certificate: { certificate_chain: { inline_string: chain }, private_key: { inline_string: privateKey } },
    });
    const token = Math.min(expiresAt, identityToken.expiresAt) > now ? identityToken.value : '';
    put(tokenOf(grant), { generic_secret: { secret: { inline_string: token } } });
  }
  put(NO_CREDENTIAL, { generic_secret: { secret: { inline_string: '' } } });
  put(MESH_ROOTS, { validation_context: { trusted_ca: { inline_string: mesh.roots.join('\n') } } });
  put(EDGE_ROOTS, { validation_context: { trusted_ca: { inline_string: edgeRoots } } });
  return secrets;
}

/** When the next of the credentials expires, milliseconds since the epoch; undefined where none is left. */
export function nextExpiry({ svids, identityToken }: Credentials, now: number): number | undefined {
  const ends = [identityToken.expiresAt, ...[...svids.values()].map(({ expiresAt }) => expiresAt)].filter(
    (at) => at > now,
  );
  return ends.length === 0 ? undefined : Math.min(...ends);
}
