/** Reads the objects in a live cluster that affect policy. It uses only list requests, and never reads Secrets. */
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { createKubernetesHttp, type KubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type KubeObject, loadObject, type ManifestProblem, type Resource } from '@meshpass/istio';

type Client = Pick<KubernetesHttp, 'call'>;

interface Collection {
  readonly apiVersion: string;
  readonly kind: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
}

const PAGE = 500;
const of = (apiVersion: string, kind: string, plural: string, query?: Collection['query']): Collection => ({
  apiVersion,
  kind,
  path: `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}/${plural}`,
  ...(query && { query }),
});

const COLLECTIONS: readonly Collection[] = [
  of('security.istio.io/v1', 'AuthorizationPolicy', 'authorizationpolicies'),
  of('security.istio.io/v1', 'RequestAuthentication', 'requestauthentications'),
  of('security.istio.io/v1', 'PeerAuthentication', 'peerauthentications'),
  of('networking.istio.io/v1', 'Gateway', 'gateways'),
  of('networking.istio.io/v1', 'VirtualService', 'virtualservices'),
  of('networking.istio.io/v1', 'DestinationRule', 'destinationrules'),
  of('networking.istio.io/v1', 'ServiceEntry', 'serviceentries'),
  of('networking.istio.io/v1', 'Sidecar', 'sidecars'),
  of('networking.istio.io/v1alpha3', 'EnvoyFilter', 'envoyfilters'),
  of('extensions.istio.io/v1alpha1', 'WasmPlugin', 'wasmplugins'),
  of('extensions.istio.io/v1alpha1', 'TrafficExtension', 'trafficextensions'),
  of('gateway.networking.k8s.io/v1', 'Gateway', 'gateways'),
  of('v1', 'Service', 'services'),
  of('v1', 'Namespace', 'namespaces'),
  of('v1', 'ServiceAccount', 'serviceaccounts'),
  of('v1', 'Pod', 'pods'),
  // Read only the ConfigMap that contains the mesh configuration.
  of('v1', 'ConfigMap', 'configmaps', { fieldSelector: 'metadata.name=istio' }),
  of('rbac.authorization.k8s.io/v1', 'Role', 'roles'),
  of('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles'),
  of('rbac.authorization.k8s.io/v1', 'RoleBinding', 'rolebindings'),
  of('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings'),
];

/**
 * The API groups whose resources affect traffic. On request, the resource kinds in these groups that Meshpass does not
 * understand are listed as well.
 */
const TRAFFIC_GROUPS =
  /^(?:[a-z]+\.istio\.io|gateway\.networking\.(?:x-)?k8s\.io|gateway\.envoyproxy\.io|networking\.k8s\.io)\//;

export interface ClusterObjects {
  readonly resources: readonly Resource[];
  readonly problems: readonly ManifestProblem[];
  /** Objects that affect traffic but whose kinds Meshpass does not understand. Empty unless they were requested. */
  readonly others: readonly KubeObject[];
  /** Other kinds that affect traffic, but which the kubeconfig's user is not allowed to list. */
  readonly unlisted: readonly { readonly apiVersion: string; readonly kind: string }[];
}

/**
 * Reads the objects in a cluster.
 * @param options.others whether to also list the other kinds in API groups that affect traffic, such as Gateway API
 *   routes
 * @throws MeshpassError `config_invalid`, `kubernetes_unavailable`
 */
export async function readCluster(
  kubeconfig: string,
  options: { readonly others?: boolean } = {},
): Promise<ClusterObjects> {
  const http = createKubernetesHttp(await kubeconfigAccess(kubeconfig));
  try {
    return await readObjects(http, options);
  } finally {
    http.close();
  }
}

/**
 * Reads the objects in a cluster, using an existing client.
 * @param options the options of readCluster()
 * @throws MeshpassError `kubernetes_unavailable`
 */
export async function readObjects(http: Client, options: { readonly others?: boolean } = {}): Promise<ClusterObjects> {
  const lists = await Promise.all(COLLECTIONS.map((collection) => list(http, collection)));
  const discovered = options.others ? await listOthers(http) : { lists: [], unlisted: [] };
  const loaded = [...lists, ...discovered.lists].flat();
  return {
    resources: loaded.flatMap(({ resources }) => resources),
    problems: loaded.flatMap(({ problems }) => problems),
    others: loaded.flatMap(({ others }) => others),
    unlisted: discovered.unlisted,
  };
}

/** Returns the API versions that the API server supports, in the form `group/version`. */
async function groupVersions(http: Client): Promise<ReadonlySet<string>> {
  const { body } = await http.call({ method: 'GET', path: '/apis' });
  const { groups = [] } = body as { groups?: readonly { versions?: readonly { groupVersion?: string }[] }[] };
  return new Set(groups.flatMap(({ versions = [] }) => versions.map(({ groupVersion }) => groupVersion ?? '')));
}

type Loaded = ReturnType<typeof loadObject>;

/**
 * Uses API discovery to list all objects in the traffic groups whose kinds are not in COLLECTIONS. These include
 * Gateway API routes and Ingresses. Discovery is needed because a cluster may not have those kinds, and because the
 * user may not be allowed to list them.
 */
async function listOthers(
  http: Client,
): Promise<{ readonly lists: readonly (readonly Loaded[])[]; readonly unlisted: ClusterObjects['unlisted'] }> {
  const understood = new Set(COLLECTIONS.map(({ apiVersion, kind }) => `${groupOf(apiVersion)}/${kind}`));
  const found = new Map<string, Collection>();
  for (const apiVersion of [...(await groupVersions(http))].filter((one) => TRAFFIC_GROUPS.test(one))) {
    const { body } = await http.call({ method: 'GET', path: `/apis/${apiVersion}` });
    const { resources = [] } = body as {
      resources?: readonly { name: string; kind: string; verbs?: readonly string[] }[];
    };
    for (const { name, kind, verbs = [] } of resources) {
      const key = `${groupOf(apiVersion)}/${kind}`;
      if (!name.includes('/') && verbs.includes('list') && !understood.has(key) && !found.has(key))
        found.set(key, of(apiVersion, kind, name));
    }
  }
  const lists: (readonly Loaded[])[] = [];
  const unlisted: { readonly apiVersion: string; readonly kind: string }[] = [];
  for (const collection of found.values()) {
    const { apiVersion, kind } = collection;
    try {
      lists.push(await list(http, collection));
    } catch (thrown) {
      if (toMeshpassError(thrown).code !== 'kubernetes_unavailable') throw thrown;
      unlisted.push({ apiVersion, kind });
    }
  }
  return { lists, unlisted };
}

function groupOf(apiVersion: string): string {
  return apiVersion.slice(0, apiVersion.indexOf('/'));
}

/**
 * Lists the objects of a kind. Returns an empty list if the kind is not installed, such as `TrafficExtension` before
 * Istio 1.30.
 */
async function list(http: Client, { apiVersion, kind, path, query }: Collection): Promise<readonly Loaded[]> {
  const found: Loaded[] = [];
  let next: string | undefined;
  do {
    const answer = await http
      .call({
        method: 'GET',
        path,
        query: { ...query, limit: String(PAGE), ...(next && { continue: next }) },
        expect: [404],
      })
      .catch((cause) => {
        const { detail } = toMeshpassError(cause);
        const { status, reason } = detail as { readonly status?: number; readonly reason?: string };
        const why = status === undefined ? 'no answer' : `${status} ${reason ?? ''}`.trim();
        throw new MeshpassError('kubernetes_unavailable', `The cluster does not list ${path}: ${why}.`, {
          cause,
          detail,
        });
      });
    if (answer.status === 404) return [];
    const page = answer.body as { items?: readonly unknown[]; metadata?: { continue?: string } };
    for (const item of page.items ?? []) {
      if (typeof item !== 'object' || item === null) continue;
      const { metadata } = item as { readonly metadata?: { readonly name?: string; readonly namespace?: string } };
      const name = [kind, metadata?.namespace, metadata?.name].filter((part) => part !== undefined).join('/');
      found.push(loadObject({ apiVersion, kind, ...item }, name));
    }
    next = page.metadata?.continue || undefined;
  } while (next !== undefined);
  return found;
}
