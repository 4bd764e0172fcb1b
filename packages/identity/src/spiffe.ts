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

/** SNI by which Istio's AUTO_PASSTHROUGH gateway finds a cluster: `outbound_.PORT_._.HOST` (no subset). */
export function formatSni(target: Target): string {
  return `outbound_.${target.port}_._.${target.host}`;
}

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
