/**
 * Which names the broker may announce. A name that is announced is taken over: programs here that ask for it reach the mesh
 * instead. So it must be a Service under the cluster domain that this agent was configured with, and its short forms are
 * made here, never taken from the broker.
 */
import { isDnsLabel } from '@meshpass/identity/spiffe';

/**
 * Last labels of names that lead somewhere else than to a Service: of `NAME.com` the internet's DNS knows hosts, `NAME.local`
 * is multicast DNS (RFC 6762). All of two letters belong to countries and are left out by their length (ISO 3166-1).
 */
const TAKEN = new Set([
  ...['com', 'org', 'net', 'edu', 'gov', 'mil', 'int', 'arpa'],
  ...[
    'aero',
    'asia',
    'biz',
    'cat',
    'coop',
    'info',
    'jobs',
    'mobi',
    'museum',
    'name',
    'post',
    'pro',
    'tel',
    'travel',
    'xxx',
  ],
  // RFC 6761, RFC 6762 appendix G, RFC 7686, RFC 9476, and what ICANN keeps for private networks.
  ...['alt', 'corp', 'example', 'home', 'internal', 'intranet', 'invalid', 'lan', 'local', 'localdomain', 'localhost'],
  ...['onion', 'private'],
]);
/** A last label of this form makes the whole name an IPv4 address (WHATWG URL, "ends in a number"; inet_aton). */
const NUMBER = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * The other names of a Service.
 * @param host as the broker announced it
 * @param clusterDomain of the mesh: `cluster.local`
 * @returns `NAME.NAMESPACE.svc` and, where that cannot mean another host, `NAME.NAMESPACE`; undefined where the host is not
 *   `NAME.NAMESPACE.svc.CLUSTERDOMAIN`
 */
export function aliasesOf(host: string, clusterDomain: string): string[] | undefined {
  const suffix = `.svc.${clusterDomain}`;
  if (host.length > 253 || !host.endsWith(suffix)) return undefined;
  const short = host.slice(0, -suffix.length);
  const [name = '', namespace = '', ...more] = short.split('.');
  if (more.length > 0 || !isDnsLabel(name) || !isDnsLabel(namespace)) return undefined;
  const ambiguous = namespace.length === 2 || TAKEN.has(namespace) || NUMBER.test(namespace);
  return ambiguous ? [`${short}.svc`] : [`${short}.svc`, short];
}

/** Whether a text may be the domain of a cluster: lower-case labels. */
export function isClusterDomain(text: string): boolean {
  return text.length <= 200 && text.split('.').every(isDnsLabel);
}
