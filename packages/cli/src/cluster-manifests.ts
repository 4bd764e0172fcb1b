/** Everything that policy depends on in a live cluster, by list calls. Secrets are not asked for. */
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes-access';
import { type KubernetesHttp, kubernetesHttp } from '@meshpass/broker/mesh/kubernetes-http';
import { loadObject, type ManifestProblem } from '@meshpass/policy/istio/load';
import type { Resource } from '@meshpass/policy/istio/resources';

interface Collection {
  readonly apiVersion: string;
  readonly kind: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
}

const PAGE = 500;
const of = (apiVersion: string, kind: string, plural: string, query?: Collection['query']): Collection => ({
  ...{ apiVersion, kind, path: `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}/${plural}` },
  ...(query && { query }),
});

const COLLECTIONS: readonly Collection[] = [
  ...['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].map((kind) =>
    of('security.istio.io/v1', kind, plural(kind)),
  ),
  ...['Gateway', 'VirtualService', 'DestinationRule', 'ServiceEntry', 'Sidecar'].map((kind) =>
    of('networking.istio.io/v1', kind, plural(kind)),
  ),
  of('networking.istio.io/v1alpha3', 'EnvoyFilter', 'envoyfilters'),
  of('gateway.networking.k8s.io/v1', 'Gateway', 'gateways'),
  ...['Service', 'Namespace', 'ServiceAccount', 'Pod'].map((kind) => of('v1', kind, plural(kind))),
  // The mesh's own configuration, and no other ConfigMap.
  of('v1', 'ConfigMap', 'configmaps', { fieldSelector: 'metadata.name=istio' }),
  ...['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding'].map((kind) =>
    of('rbac.authorization.k8s.io/v1', kind, plural(kind)),
  ),
];

/** @throws MeshpassError `config_invalid`, `kubernetes_unavailable` */
export async function readCluster(
  kubeconfig: string,
): Promise<{ readonly resources: readonly Resource[]; readonly problems: readonly ManifestProblem[] }> {
  const http = kubernetesHttp(await kubeconfigAccess(kubeconfig));
  try {
    const lists = await Promise.all(COLLECTIONS.map((collection) => list(http, collection)));
    const loaded = lists.flat().map(({ object, name }) => loadObject(object, name));
    return {
      resources: loaded.flatMap(({ resources }) => resources),
      problems: loaded.flatMap(({ problems }) => problems),
    };
  } finally {
    http.close();
  }
}

async function list(http: KubernetesHttp, { apiVersion, kind, path, query }: Collection) {
  const found: { readonly object: object; readonly name: string }[] = [];
  let next: string | undefined;
  do {
    const answer = await http.call({
      ...{ method: 'GET', path },
      query: { ...query, limit: String(PAGE), ...(next && { continue: next }) },
      // A kind that is not installed has no objects.
      expect: [404],
    });
    const page =
      answer.status === 404 ? {} : (answer.body as { items?: readonly unknown[]; metadata?: { continue?: string } });
    for (const item of page.items ?? []) {
      if (typeof item !== 'object' || item === null) continue;
      const { metadata } = item as { readonly metadata?: { readonly name?: string; readonly namespace?: string } };
      const name = [kind, metadata?.namespace, metadata?.name].filter((part) => part !== undefined).join('/');
      found.push({ object: { apiVersion, kind, ...item }, name });
    }
    next = page.metadata?.continue || undefined;
  } while (next !== undefined);
  return found;
}

function plural(kind: string): string {
  const lower = kind.toLowerCase();
  if (lower.endsWith('y')) return `${lower.slice(0, -1)}ies`;
  return `${lower}s`;
}
