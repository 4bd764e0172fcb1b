/**
 * Determines the source address of a request. This is the peer's address, or the address forwarded by a trusted proxy.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { MeshpassError } from '@meshpass/identity';

/** Returns the source address of a request. */
export type SourceOf = (request: IncomingMessage) => string;

/**
 * Creates a function that returns the source address of a request.
 * @param trustedProxies the CIDR blocks of trusted proxies
 * @throws MeshpassError `config_invalid`
 */
export function createSourceReader(trustedProxies: readonly string[]): SourceOf {
  const isTrusted = createProxyChecker(trustedProxies);
  return (request) => {
    let address = plain(request.socket.remoteAddress ?? 'unknown');
    if (!isTrusted(address)) return address;
    const forwarded = String(request.headers['x-forwarded-for'] ?? '').split(',');
    // The entries are read from right to left. Each one was added by the hop after it, so it is only reliable if that
    // hop is trusted.
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
 * Creates a function that checks whether an address belongs to a trusted proxy.
 * @param trustedProxies the CIDR blocks of trusted proxies
 * @throws MeshpassError `config_invalid`
 */
export function createProxyChecker(trustedProxies: readonly string[]): (address: string) => boolean {
  const trusted = new BlockList();
  for (const block of trustedProxies) {
    const [address = '', bits] = block.split('/');
    const family = isIP(address);
    try {
      trusted.addSubnet(address, Number(bits ?? (family === 6 ? 128 : 32)), family === 6 ? 'ipv6' : 'ipv4');
    } catch (cause) {
      throw new MeshpassError('config_invalid', `${block} in trustedProxies is not a valid CIDR block.`, { cause });
    }
  }
  return (address) => {
    const known = plain(address);
    return trustedProxies.length > 0 && trusted.check(known, isIP(known) === 6 ? 'ipv6' : 'ipv4');
  };
}

/** Removes the `::ffff:` prefix that IPv6 sockets add to IPv4 addresses. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
