/**
 * SPIFFE ids in Istio's format, targets, and the SNI that Istio's gateways use for routing. All of them are parsed
 * strictly.
 */
import { MeshpassError } from './error.ts';

export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SPIFFE = /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([a-z0-9-]{1,63})\/sa\/([a-z0-9.-]{1,253})$/;

/**
 * Formats a SPIFFE id as `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME` (SPIFFE-ID specification, section 2; Istio's path
 * format).
 */
export function formatSpiffe(id: SpiffeId): string {
  return `spiffe://${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`;
}

/** Parses a SPIFFE id in Istio's format. Returns undefined for any other text. */
export function parseSpiffe(uri: string): SpiffeId | undefined {
  const match = SPIFFE.exec(uri);
  if (!match) return undefined;
  return { trustDomain: match[1]!, namespace: match[2]!, serviceAccount: match[3]! };
}

/**
 * Returns the SPIFFE id of an X.509-SVID, which has exactly one URI SAN (X509-SVID specification, section 2).
 * @param subjectAltName the subject alternative names in the format of Node.js, such as `URI:spiffe://...`
 *   (X509Certificate.subjectAltName, getPeerCertificate)
 */
export function spiffeIdFromSan(subjectAltName: string | undefined): string | undefined {
  if (!subjectAltName) return undefined;
  const uris = subjectAltName.split(', ').filter((san) => san.startsWith('URI:'));
  if (uris.length !== 1) return undefined;
  const uri = uris[0]!.slice('URI:'.length);
  return parseSpiffe(uri) ? uri : undefined;
}

/** Returns the namespace that contains the ServiceAccounts of a grant. */
export function grantNamespace(grant: string): string {
  return `meshpass-${grant}`;
}

/**
 * The ServiceAccount in each grant's namespace that the broker uses to request workspace configuration from istiod.
 * Sessions never use it.
 */
export const RELAY_ACCOUNT = 'meshpass-relay';

/**
 * The prefixes of names that the agent uses in a workspace's Envoy, and the name `roots`. A grant must not have any of
 * these names.
 */
export const RESERVED_GRANTS: readonly string[] = ['agent', 'edge', 'roots', 'tunnel'];

/** Whether a string is a valid trust domain. */
export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}
/** Whether a string is a valid Kubernetes label (RFC 1123). */
export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

/** A service in the mesh, identified by its full host name and the service port. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** An Istio cluster, which is a service port or a subset of it that a DestinationRule defines. */
export interface ClusterName extends Target {
  /** The name of the subset. Absent if the cluster contains all endpoints of the service. */
  readonly subset?: string;
}

/**
 * Formats the SNI that selects a cluster at Istio's AUTO_PASSTHROUGH gateway: `outbound_.PORT_.SUBSET_.HOST`, or
 * `outbound_.PORT_._.HOST` without a subset.
 */
export function formatSni(cluster: ClusterName): string {
  return `outbound_.${cluster.port}_.${cluster.subset ?? ''}_.${cluster.host}`;
}

const SNI = /^outbound_\.([1-9][0-9]{0,4})_\.([a-z0-9-]{0,63})_\.([a-z0-9.-]{1,253})$/;

/**
 * Parses an SNI in Istio's format. Returns undefined for any other text. `formatSni` always converts the result back to
 * the same text. A subset is a DNS label, as required by Istio, so it cannot contain `_`. The host consists of DNS
 * labels.
 */
export function parseSni(text: string): ClusterName | undefined {
  if (text.length > MAX_SNI) return undefined;
  const match = SNI.exec(text);
  if (!match) return undefined;
  const [, digits, subset, host] = match as unknown as [string, string, string, string];
  const port = Number(digits);
  if (port > 65535 || !host.split('.').every(isDnsLabel)) return undefined;
  if (subset === '') return { host, port };
  return isDnsLabel(subset) ? { host, port, subset } : undefined;
}

/** The maximum length of the server name that the edge reads from a ClientHello, in bytes. */
const MAX_SNI = 255;

const HOST_PORT = /^([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?):([0-9]{1,5})$/;

/** Parses the `host:port` of a CONNECT request (RFC 9110 section 9.3.6). Returns undefined for any other text. */
export function parseTarget(authority: string): Target | undefined {
  const match = HOST_PORT.exec(authority);
  if (!match) return undefined;
  const port = Number(match[2]);
  if (port < 1 || port > 65535) return undefined;
  return { host: match[1]!, port };
}

/**
 * The host and port of the Kubernetes API server. This is the only target outside the mesh that an edge may connect to, and only
 * if this is enabled. In every cluster, the API server's certificate contains this name.
 */
export const KUBERNETES_API = { host: 'kubernetes.default.svc', port: 443 } as const;
/** The API server's address as `host:port`, which is the format of a CONNECT request. */
export const KUBERNETES_TARGET = `${KUBERNETES_API.host}:${KUBERNETES_API.port}`;

/**
 * Builds the name of a ServiceAccount, `OWNER-SHORTID`.
 * @param login the login of the owner. Characters that are not allowed in a DNS label become `-`
 * @param shortId a unique id in lower-case hexadecimal
 * @throws MeshpassError `internal` if the result is not a DNS label
 */
export function serviceAccountName(login: string, shortId: string): string {
  const owner = login
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 40)
    .replace(/^-+|-+$/g, '');
  const name = owner ? `${owner}-${shortId}` : shortId;
  if (!LABEL.test(name)) throw new MeshpassError('internal', 'Could not build a ServiceAccount name.');
  return name;
}
