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
  const trusted = new BlockList();
  for (const block of trustedProxies) {
    const [address = '', bits] = block.split('/');
    const family = isIP(address);
    try {
      trusted.addSubnet(address, Number(bits ?? (family === 6 ? 128 : 32)), family === 6 ? 'ipv6' : 'ipv4');
    } catch (cause) {
      throw new MeshpassError('config_invalid', `${block} in trustedProxies is no CIDR block.`, { cause });
    }
  }
  const isTrusted = (address: string) =>
    trustedProxies.length > 0 && trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
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

/** IPv4 as IPv6 sockets show it, without the prefix. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
