/** Determines which policies apply to many workloads at once. */
import { GATEWAY_NAME, type MeshProxy, type ProxyKind } from '../mesh/proxy.ts';
import type { Labels } from '../object/object.ts';
import type { AuthorizationPolicy, RequestAuthentication } from '../object/security.ts';
import { isForSidecars, selectorOf, selects } from '../object/selection.ts';
import { attaches } from './attach.ts';

/** The policies that apply to the whole mesh, to the namespace, and only to the workload itself. */
export type Layers<P> = readonly [readonly P[], readonly P[], readonly P[]];

const EMPTY: readonly never[] = [];

/**
 * Returns each workload's policies in layers. Most workloads in a namespace share two of the three arrays, so callers
 * can process each of these once. For a Pod of a Gateway of the Gateway API, the last layer contains all policies.
 * @param policies the policies of one kind, oldest first
 * @param kindOf see `proxyKinds`
 * @returns the same policies that `attaches` selects
 * @example
 * ```ts
 * import { attachedLayers, loadManifests, ofKind, proxyKinds } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {action: DENY, selector: {matchLabels: {app: orders}}, rules: [{}]}}`;
 * const { resources } = loadManifests(`${policy}`, 'mesh.yaml');
 * const layersOf = attachedLayers(ofKind(resources, 'AuthorizationPolicy'), 'istio-system', proxyKinds([]));
 * layersOf({ namespace: 'shop', labels: { app: 'orders' } }).map((layer) => layer.length); // => [0, 0, 1]
 * ```
 */
export function attachedLayers<P extends AuthorizationPolicy | RequestAuthentication>(
  policies: readonly P[],
  rootNamespace: string,
  kindOf: (labels: Labels) => ProxyKind,
): (workload: Pick<MeshProxy, 'namespace' | 'labels'>) => Layers<P> {
  const byNamespace = Map.groupBy(policies, ({ metadata }) => metadata.namespace);
  const split = new Map(
    [...byNamespace].map(([namespace, some]) => {
      const ours = some.filter(isForSidecars);
      return [
        namespace,
        { every: some, wide: ours.filter((one) => !selectorOf(one)), own: ours.filter((one) => selectorOf(one)) },
      ];
    }),
  );
  const none = { every: EMPTY as readonly P[], wide: EMPTY as readonly P[], own: EMPTY as readonly P[] };
  const root = split.get(rootNamespace) ?? none;
  return ({ namespace, labels }) => {
    const inside = namespace === rootNamespace ? none : (split.get(namespace) ?? none);
    if (labels[GATEWAY_NAME] !== undefined) {
      const proxy = { namespace, labels, kind: kindOf(labels) };
      return [EMPTY, EMPTY, [...root.every, ...inside.every].filter((one) => attaches(one, proxy, rootNamespace))];
    }
    const candidates = root.own.length === 0 ? inside.own : [...root.own, ...inside.own];
    const own = candidates.length === 0 ? EMPTY : candidates.filter((one) => selects(selectorOf(one), labels));
    return [root.wide, inside.wide, own];
  };
}
