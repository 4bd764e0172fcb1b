/** Whom a request comes from: the peer, unless it is a proxy that the configuration trusts to say. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { MeshpassError } from '@meshpass/identity';

export type SourceOf = (request: IncomingMessage) => string;

/**
 * @param trustedProxies CIDR blocks
 * @throws MeshpassError `config_invalid`
 */
export function sourceReader(trustedProxies: readonly string[]): SourceOf {
  const isTrusted = proxyChecker(trustedProxies);
  return (request) => {
    let address = plain(request.socket.remoteAddress ?? 'unknown');
    if (!isTrusted(address)) return address;
    const forwarded = String(request.headers['x-forwarded-for'] ?? '').split(',');
    // From the right: each entry was added by the hop after it, and is believed as long as that hop is.
    for (const entry of forwarded.reverse()) {
      const hop = plain(entry.trim());
      if (isIP(hop) === 0) break;
      address = hop;
      if (!isTrusted(hop)) break;
    }
    return address;
  };
}

/**
 * @param trustedProxies CIDR blocks
 * @returns whether an address is that of a proxy which the configuration trusts
 * @throws MeshpassError `config_invalid`
 */
export function proxyChecker(trustedProxies: readonly string[]): (address: string) => boolean {
  const trusted = new BlockList();
  for (const block of trustedProxies) {
    const [address = '', bits] = block.split('/');
    const family = isIP(address);
    try {
      trusted.addSubnet(address, Number(bits ?? (family === 6 ? 128 : 32)), family === 6 ? 'ipv6' : 'ipv4');
    } catch (cause) {
      throw new MeshpassError('config_invalid', `${block} in trustedProxies is not a CIDR block.`, { cause });
    }
  }
  return (address) => {
    const known = plain(address);
    return trustedProxies.length > 0 && trusted.check(known, isIP(known) === 6 ? 'ipv6' : 'ipv4');
  };
}

/**
 * What one person gets from a provider, and counts as one source: an IPv4 address, or an IPv6 /64 (RFC 6177).
 * @param address as a socket names it
 */
export function groupOf(address: string): string {
  const known = plain(address).split('%')[0]!;
  if (isIP(known) !== 6) return known;
  const [head = '', tail = ''] = new URL(`http://[${known}]`).hostname.slice(1, -1).split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === '' ? [] : tail.split(':');
  const groups = [...first, ...Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0'), ...last];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/** IPv4 as IPv6 sockets show it, without the prefix. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
