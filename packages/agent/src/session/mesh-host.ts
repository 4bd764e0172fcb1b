/**
 * Restricts the names that the broker may announce. Programs in this workspace that use an announced name reach the
 * mesh instead of the original host. A name must therefore belong to a Service in the agent's configured cluster
 * domain, and the agent derives the short forms itself.
 */
import { isDnsLabel } from '@meshpass/identity';

/**
 * The last labels that the short name of a Service must not have. In public DNS there are hosts named `NAME.com`, and
 * `NAME.local` is multicast DNS (RFC 6762). Labels with two letters belong to countries (ISO 3166-1) and are excluded
 * because of their length.
 */
const TAKEN = new Set([
  ...['com', 'org', 'net', 'edu', 'gov', 'mil', 'int', 'arpa'],
  ...['aero', 'asia', 'biz', 'cat', 'coop', 'info', 'jobs', 'mobi'],
  ...['museum', 'name', 'post', 'pro', 'tel', 'travel', 'xxx'],
  // These labels come from RFC 6761, RFC 6762 appendix G, RFC 7686 and RFC 9476, or are reserved by ICANN for private
  // networks.
  ...['alt', 'corp', 'example', 'home', 'internal', 'intranet', 'invalid', 'lan', 'local', 'localdomain', 'localhost'],
  ...['onion', 'private'],
]);
/**
 * Matches last labels that would turn the whole name into an IPv4 address (WHATWG URL, "ends in a number"; inet_aton).
 */
const NUMBER = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * Derives the short names of a Service from its host.
 * @param host the host that the broker has announced
 * @param clusterDomain the DNS domain of the cluster, such as `cluster.local`
 * @returns `NAME.NAMESPACE.svc` and, unless it could be a different host, `NAME.NAMESPACE`. Undefined if the host
 *   does not have the form `NAME.NAMESPACE.svc.CLUSTERDOMAIN`
 */
export function serviceShortNames(host: string, clusterDomain: string): string[] | undefined {
  const suffix = `.svc.${clusterDomain}`;
  if (host.length > 253 || !host.endsWith(suffix)) return undefined;
  const short = host.slice(0, -suffix.length);
  const [name = '', namespace = '', ...more] = short.split('.');
  if (more.length > 0 || !isDnsLabel(name) || !isDnsLabel(namespace)) return undefined;
  const ambiguous = namespace.length === 2 || TAKEN.has(namespace) || NUMBER.test(namespace);
  return ambiguous ? [`${short}.svc`] : [`${short}.svc`, short];
}

/** Returns whether a text is a valid cluster domain, which consists of lower-case labels. */
export function isClusterDomain(text: string): boolean {
  return text.length <= 200 && text.split('.').every(isDnsLabel);
}
