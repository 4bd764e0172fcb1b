/** SPIFFE ids in Istio's form, and the SNI by which Istio's gateways route (both strict: parse, do not search). */
import { MeshpassError } from './error.ts';

export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SPIFFE = /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([a-z0-9-]{1,63})\/sa\/([a-z0-9.-]{1,253})$/;

/** Formats `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME` (SPIFFE-ID specification, section 2; Istio's path form). */
export function formatSpiffe(id: SpiffeId): string {
  return `spiffe://${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`;
}

/** Parses Istio's SPIFFE id; undefined for any other text. */
export function parseSpiffe(uri: string): SpiffeId | undefined {
  const match = SPIFFE.exec(uri);
  if (!match) return undefined;
  return { trustDomain: match[1]!, namespace: match[2]!, serviceAccount: match[3]! };
}

/**
 * The SPIFFE id in an X.509-SVID: exactly one URI SAN (X509-SVID specification, section 2).
 * @param subjectAltName as Node prints it, e.g. `URI:spiffe://...` (X509Certificate.subjectAltName, getPeerCertificate)
 */
export function spiffeOfSan(subjectAltName: string | undefined): string | undefined {
  if (!subjectAltName) return undefined;
  const uris = subjectAltName.split(', ').filter((san) => san.startsWith('URI:'));
  if (uris.length !== 1) return undefined;
  const uri = uris[0]!.slice('URI:'.length);
  return parseSpiffe(uri) ? uri : undefined;
}

/** The namespace in which the ServiceAccounts of a grant live. */
export function grantNamespace(grant: string): string {
  return `meshpass-${grant}`;
}

/** The ServiceAccount in the namespace of each grant as which the broker asks istiod how workspaces are configured; no session's. */
export const RELAY_ACCOUNT = 'meshpass-relay';

/** Begin names of the agent's own in a workspace's Envoy, or are one (`roots`): no grant is called so. */
export const RESERVED_GRANTS: readonly string[] = ['agent', 'edge', 'roots', 'tunnel'];

/** Whether a name may be a trust domain, or a Kubernetes label (RFC 1123). */
export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}
export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

/** A service of the mesh: full host name and service port. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** A cluster of Istio's: a service port, or a subset of it that a DestinationRule names. */
export interface ClusterName extends Target {
  /** Absent: all endpoints of the service. */
  readonly subset?: string;
}

/** SNI by which Istio's AUTO_PASSTHROUGH gateway finds a cluster: `outbound_.PORT_.SUBSET_.HOST`, without a subset `outbound_.PORT_._.HOST`. */
export function formatSni(cluster: ClusterName): string {
  return `outbound_.${cluster.port}_.${cluster.subset ?? ''}_.${cluster.host}`;
}

const SNI = /^outbound_\.([1-9][0-9]{0,4})_\.([a-z0-9-]{0,63})_\.([a-z0-9.-]{1,253})$/;

/**
 * Parses an SNI of Istio's; undefined for any other text. Every accepted text is the one that `formatSni` makes of the result:
 * a subset is a DNS label (as Istio requires), so that no `_` can be read as a part of it, and the host consists of DNS labels.
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

/** Longest server name of a ClientHello that the edge reads, bytes. */
const MAX_SNI = 255;

const HOST_PORT = /^([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?):([0-9]{1,5})$/;

/** Parses `host:port` as a CONNECT request carries it (RFC 9110 section 9.3.6); undefined where it is anything else. */
export function parseTarget(authority: string): Target | undefined {
  const match = HOST_PORT.exec(authority);
  if (!match) return undefined;
  const port = Number(match[2]);
  if (port < 1 || port > 65535) return undefined;
  return { host: match[1]!, port };
}

/**
 * A ServiceAccount name `OWNER-SHORTID`.
 * @param login of the owner; anything that a DNS label cannot hold becomes `-`
 * @param shortId lower-case hex that makes it unique
 */
export function serviceAccountName(login: string, shortId: string): string {
  const owner = login
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 40)
    .replace(/^-+|-+$/g, '');
  const name = owner ? `${owner}-${shortId}` : shortId;
  if (!LABEL.test(name)) throw new MeshpassError('internal', 'A ServiceAccount name could not be made.');
  return name;
}
