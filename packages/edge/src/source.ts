/** The address that connections are counted by: an IPv4 address, or the /64 of an IPv6 one (one subscriber's share). */
export function sourceOf(remoteAddress: string | undefined): string {
  if (!remoteAddress) return 'unknown';
  if (remoteAddress.startsWith('::ffff:') && remoteAddress.includes('.')) return remoteAddress.slice('::ffff:'.length);
  if (!remoteAddress.includes(':')) return remoteAddress;
  const [left = '', right] = remoteAddress.split('%')[0]!.split('::');
  const head = left ? left.split(':') : [];
  const tail = right ? right.split(':') : [];
  const zeros = right === undefined ? [] : Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0');
  return `${[...head, ...zeros, ...tail].slice(0, 4).join(':')}::/64`;
}

/**
 * The network that a source belongs to, for bounds over all sources: the /48 of an IPv6 one (what a site is given, RFC 6177:
 * 65,536 sources of ours), the address itself of an IPv4 one.
 * @param source as sourceOf gives it
 */
export function groupOf(source: string): string {
  return source.endsWith('::/64') ? `${source.split(':').slice(0, 3).join(':')}::/48` : source;
}
