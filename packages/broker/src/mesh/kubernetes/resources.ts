/** The kinds of Kubernetes objects that Meshpass reads or writes, and their API paths. */
import { MeshpassError } from '@meshpass/identity';
import { path } from './http.ts';

const CORE = '/api/v1';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const SECURITY = '/apis/security.istio.io/v1';
const EXTENSIONS = '/apis/extensions.istio.io/v1alpha1';
const NETWORKING = '/apis/networking.istio.io/v1';

/** The base path (`/api/v1` or `/apis/GROUP/VERSION`) and the plural name of each kind. */
const KINDS: Readonly<Record<string, readonly [base: string, plural: string]>> = {
  ConfigMap: [CORE, 'configmaps'],
  Namespace: [CORE, 'namespaces'],
  Pod: [CORE, 'pods'],
  Service: [CORE, 'services'],
  ServiceAccount: [CORE, 'serviceaccounts'],
  ClusterRole: [RBAC, 'clusterroles'],
  RoleBinding: [RBAC, 'rolebindings'],
  PeerAuthentication: [SECURITY, 'peerauthentications'],
  RequestAuthentication: [SECURITY, 'requestauthentications'],
  AuthorizationPolicy: [SECURITY, 'authorizationpolicies'],
  Gateway: [NETWORKING, 'gateways'],
  DestinationRule: [NETWORKING, 'destinationrules'],
  ServiceEntry: [NETWORKING, 'serviceentries'],
  VirtualService: [NETWORKING, 'virtualservices'],
  Sidecar: [NETWORKING, 'sidecars'],
  EnvoyFilter: ['/apis/networking.istio.io/v1alpha3', 'envoyfilters'],
  WasmPlugin: [EXTENSIONS, 'wasmplugins'],
  TrafficExtension: [EXTENSIONS, 'trafficextensions'],
};

const CLUSTER_WIDE = ['Namespace', 'ClusterRole'];

/** Returns the path for listing all objects of a kind, either in one namespace or in all namespaces. */
export function collectionPath(kind: string, namespace?: string): string {
  const [base, plural] = kindOf(kind);
  return namespace === undefined ? `${base}/${plural}` : base + path`/namespaces/${namespace}/` + plural;
}

/** Returns the apiVersion of a kind, such as `v1` or `security.istio.io/v1`. */
export function apiVersionOf(kind: string): string {
  return kindOf(kind)[0].replace(/^\/apis?\//, '');
}

/** Returns the API path of a single object. */
export function objectPath(object: {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}): string {
  const namespaced = !CLUSTER_WIDE.includes(object.kind);
  const { name, namespace } = object.metadata;
  if (namespaced !== (namespace !== undefined)) {
    throw new MeshpassError('internal', `A ${object.kind} was written with${namespaced ? 'out' : ''} a namespace.`);
  }
  return collectionPath(object.kind, namespace) + path`/${name}`;
}

function kindOf(kind: string) {
  const found = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (!found) throw new MeshpassError('internal', `Unsupported kind ${kind}.`);
  return found;
}
