import { isIPv6 } from 'node:net';

/**
 * Returns the unit that limits apply to. This is the range that a provider assigns to a single customer: an IPv4
 * address or an IPv6 /64 (RFC 6177).
 * @param address the address in the format of a socket
 */
export function sourceGroup(address = 'unknown'): string {
  const plain = address.replace(/^::ffff:(?=.*\.)/, '').split('%')[0]!;
  if (!isIPv6(plain)) return plain;
  const [head = '', tail = ''] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === '' ? [] : tail.split(':');
  const groups = [...first, ...Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0'), ...last];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/**
 * Returns the site of a source, for limits that apply to many sources together. It is the /48 of an IPv6 source (RFC
 * 6177), which contains 65,536 sources, or the IPv4 address itself.
 * @param source the result of `sourceGroup`
 */
export function sourceSite(source: string): string {
  return source.endsWith('::/64') ? `${source.split(':').slice(0, 3).join(':')}::/48` : source;
}
