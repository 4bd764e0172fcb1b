/** Kinds of Kubernetes objects that Meshpass reads or writes, and their API paths. */
import { MeshpassError } from '@meshpass/identity';
import { path } from './http.ts';

interface Kind {
  /** `/api/v1` or `/apis/GROUP/VERSION`. */
  readonly base: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const CORE = '/api/v1';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const SECURITY = '/apis/security.istio.io/v1';
const EXTENSIONS = '/apis/extensions.istio.io/v1alpha1';
const NETWORKING = '/apis/networking.istio.io/v1';

const KINDS: Readonly<Record<string, Kind>> = {
  ConfigMap: { base: CORE, plural: 'configmaps', namespaced: true },
  Namespace: { base: CORE, plural: 'namespaces', namespaced: false },
  Pod: { base: CORE, plural: 'pods', namespaced: true },
  Service: { base: CORE, plural: 'services', namespaced: true },
  ServiceAccount: { base: CORE, plural: 'serviceaccounts', namespaced: true },
  ClusterRole: { base: RBAC, plural: 'clusterroles', namespaced: false },
  RoleBinding: { base: RBAC, plural: 'rolebindings', namespaced: true },
  PeerAuthentication: { base: SECURITY, plural: 'peerauthentications', namespaced: true },
  RequestAuthentication: { base: SECURITY, plural: 'requestauthentications', namespaced: true },
  AuthorizationPolicy: { base: SECURITY, plural: 'authorizationpolicies', namespaced: true },
  Gateway: { base: NETWORKING, plural: 'gateways', namespaced: true },
  DestinationRule: { base: NETWORKING, plural: 'destinationrules', namespaced: true },
  ServiceEntry: { base: NETWORKING, plural: 'serviceentries', namespaced: true },
  VirtualService: { base: NETWORKING, plural: 'virtualservices', namespaced: true },
  Sidecar: { base: NETWORKING, plural: 'sidecars', namespaced: true },
  EnvoyFilter: { base: '/apis/networking.istio.io/v1alpha3', plural: 'envoyfilters', namespaced: true },
  WasmPlugin: { base: EXTENSIONS, plural: 'wasmplugins', namespaced: true },
  TrafficExtension: { base: EXTENSIONS, plural: 'trafficextensions', namespaced: true },
};

/** Returns the path of all objects of a kind, in one namespace or all of them. */
export function collectionPath(kind: string, namespace?: string): string {
  const { base, plural } = kindOf(kind);
  return namespace === undefined ? `${base}/${plural}` : base + path`/namespaces/${namespace}/` + plural;
}

/** Returns the apiVersion of a kind: `v1`, `security.istio.io/v1`. */
export function apiVersionOf(kind: string): string {
  return kindOf(kind).base.replace(/^\/apis?\//, '');
}

/** Returns the path of one object. */
export function objectPath(object: {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}): string {
  const { namespaced } = kindOf(object.kind);
  const { name, namespace } = object.metadata;
  if (namespaced !== (namespace !== undefined)) {
    throw new MeshpassError('internal', `A ${object.kind} was written with${namespaced ? 'out' : ''} a namespace.`);
  }
  return collectionPath(object.kind, namespace) + path`/${name}`;
}

function kindOf(kind: string): Kind {
  const found = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (!found) throw new MeshpassError('internal', `Unsupported kind ${kind}.`);
  return found;
}
