/**
 * Resolves host names by the rules of Istio. A short name is expanded with the namespace of the object that contains
 * it.
 */

/**
 * Expands `orders` in namespace `shop` to `orders.shop.svc.cluster.local`. Wildcards and names that contain a dot are
 * not changed, except for `NAME.NAMESPACE.svc`. Source: VirtualService reference, `hosts`.
 * @example
 * ```ts
 * import { fullHost } from '@meshpass/istio';
 * fullHost('orders', 'shop', 'cluster.local'); // => 'orders.shop.svc.cluster.local'
 * fullHost('example.com', 'shop', 'cluster.local'); // => 'example.com'
 * ```
 */
export function fullHost(host: string, namespace: string, clusterDomain: string): string {
  if (host.includes('*')) return host;
  if (!host.includes('.')) return `${host}.${namespace}.svc.${clusterDomain}`;
  return host.endsWith('.svc') ? `${host}.${clusterDomain}` : host;
}

/**
 * Splits the full host name of a Service into its name and namespace. Returns undefined for any other host.
 * @example
 * ```ts
 * import { serviceName } from '@meshpass/istio';
 * serviceName('orders.shop.svc.cluster.local', 'cluster.local'); // => { name: 'orders', namespace: 'shop' }
 * serviceName('example.com', 'cluster.local'); // => undefined
 * ```
 */
export function serviceName(
  host: string,
  clusterDomain: string,
): { readonly name: string; readonly namespace: string } | undefined {
  const end = `.svc.${clusterDomain}`;
  if (!host.endsWith(end)) return undefined;
  const [name, namespace, ...rest] = host.slice(0, -end.length).split('.');
  return name && namespace && rest.length === 0 ? { name, namespace } : undefined;
}

/**
 * Whether a pattern (`*`, `*.example.com` or a plain name) covers a host or another pattern. Every pattern covers
 * itself. Case is ignored.
 * @example
 * ```ts
 * import { coversHost } from '@meshpass/istio';
 * coversHost('*.example.com', 'shop.example.com'); // => true
 * coversHost('*.example.com', 'example.com'); // => false
 * ```
 */
export function coversHost(pattern: string, host: string): boolean {
  const [wide, narrow] = [pattern.toLowerCase(), host.toLowerCase()];
  if (wide === '*' || wide === narrow) return true;
  return wide.startsWith('*') && narrow.endsWith(wide.slice(1)) && narrow.length > wide.length - 1;
}

/**
 * Whether there are hosts that match both of two patterns.
 * @example
 * ```ts
 * import { hostsMeet } from '@meshpass/istio';
 * hostsMeet('shop.example.com', '*.example.com'); // => true
 * hostsMeet('a.example.com', 'b.example.com'); // => false
 * ```
 */
export function hostsMeet(one: string, other: string): boolean {
  return coversHost(one, other) || coversHost(other, one);
}

/**
 * Splits `NAMESPACE/HOST`, which is a host of a Gateway server. `.` stands for the namespace of the Gateway itself.
 * @example
 * ```ts
 * import { serverHost } from '@meshpass/istio';
 * serverHost('./shop.example.com', 'ingress'); // => { namespace: 'ingress', host: 'shop.example.com' }
 * serverHost('shop.example.com', 'ingress'); // => { namespace: undefined, host: 'shop.example.com' }
 * ```
 */
export function serverHost(
  text: string,
  gatewayNamespace: string,
): { readonly namespace: string | undefined; readonly host: string } {
  const slash = text.indexOf('/');
  if (slash < 0) return { namespace: undefined, host: text };
  const namespace = text.slice(0, slash);
  return {
    namespace: namespace === '*' ? undefined : namespace === '.' ? gatewayNamespace : namespace,
    host: text.slice(slash + 1),
  };
}
