/**
 * Lists the exposures that Ingresses create, whatever their class. Those of class `istio` are served by Istio's own
 * gateway. For other controllers, the annotations are the only source of information about which checks apply. Sources:
 * the Ingress API reference, and pilot/pkg/config/kube/ingress in Istio.
 */

import {
  fullHost,
  type HttpMatch,
  type Ingress,
  type IngressPath,
  type Labels,
  type MeshView,
  oldestFirst,
  type Path,
  type StringMatch,
} from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import { segmentPrefix } from '../../routes/text-match.ts';
import { type EntryPoint, type EntryProxy, type Exposure, publishedExposure } from '../exposure.ts';
import { uncheckedGateway } from '../internal.ts';
import { controllerProxy, isGatewayService } from './gateway-service.ts';
import {
  identityFromAnnotations,
  ingressClassOf,
  nginxAnnotations,
  whyInternalIngress,
} from './ingress-controllers.ts';

const ISTIO_CONTROLLER = 'istio.io/ingress-controller';
/**
 * The default selector of the Pods that serve Ingresses. The mesh configuration can override it with `ingressSelector`.
 */
const ISTIO_SELECTOR = { istio: 'ingressgateway' };

/** An Ingress as its controller reads it. */
export interface ServedIngress {
  readonly ingress: Ingress;
  readonly entry: EntryPoint;
  /** The annotations that ingress-nginx reads. Undefined if another controller serves the Ingress. */
  readonly nginx: Labels | undefined;
  /** Whether the controller redirects every call. */
  readonly redirects: boolean;
  /** The backends in order, with the default backend at the end. */
  readonly backends: readonly Backend[];
}

/** The backend of a rule, or the default backend. */
export interface Backend {
  readonly host: string;
  /** The Ingress rule that leads to the backend. The rule for the default backend has no path. */
  readonly rule: IngressPath;
  /** The path matches, of which a call must satisfy at least one. Empty if every path matches. */
  readonly uris: readonly StringMatch[];
  /** The path to the rule within the Ingress, or to `spec` for the default backend. */
  readonly path: Path;
  readonly isDefault: boolean;
  /** The exposure of the backend. Undefined if it is not a Service. */
  readonly exposure: Exposure | undefined;
}

/** Lists the backends that Ingresses expose. */
export function listIngressExposures(mesh: MeshView): readonly Exposure[] {
  return listServedIngresses(mesh).flatMap(({ redirects, backends }) => {
    if (redirects) return [];
    const exposures = backends.flatMap(({ exposure }) => exposure ?? []);
    return exposures.filter(({ service }) => !service || !isGatewayService(mesh, service));
  });
}

/** Lists the Ingresses of every class, from oldest to newest. */
export function listServedIngresses(mesh: MeshView): readonly ServedIngress[] {
  return oldestFirst(mesh.all('Ingress')).map((ingress) => {
    const nginx = nginxAnnotations(mesh, ingress);
    const redirects = ['permanent-redirect', 'temporal-redirect'].some((name) => /^https?:/.test(nginx?.[name] ?? ''));
    const served = { ingress, entry: entryPointOf(mesh, ingress), nginx, redirects };
    return { ...served, backends: backendsOf(mesh, served) };
  });
}

function backendsOf(mesh: MeshView, served: Omit<ServedIngress, 'backends'>): readonly Backend[] {
  const { spec } = served.ingress;
  const byIstio = served.entry.proxy.by === 'istio';
  const backendAt = (given: Omit<Backend, 'exposure'>, backendPath: Path): Backend => {
    return { ...given, exposure: exposureOf(mesh, served, given, backendPath) };
  };
  const rules = items(spec.rules).flatMap(({ host, http }, index) =>
    items(http?.paths).map((rule, nth) => {
      const path = ['spec', 'rules', index, 'http', 'paths', nth];
      const uris = byIstio ? istioUris(rule) : urisOf(rule);
      return backendAt({ host: host || '*', rule, uris, path, isDefault: false }, [...path, 'backend']);
    }),
  );
  // Istio does not support default backends and ignores them.
  if (!spec.defaultBackend || byIstio) return rules;
  const fallback = { host: '*', rule: { backend: spec.defaultBackend }, uris: [], path: ['spec'], isDefault: true };
  return [...rules, backendAt(fallback, ['spec', 'defaultBackend'])];
}

function exposureOf(
  mesh: MeshView,
  { ingress, entry, nginx }: Omit<ServedIngress, 'backends'>,
  { host, rule, uris, path }: Omit<Backend, 'exposure'>,
  backendPath: Path,
): Exposure | undefined {
  const { name, port } = rule.backend?.service ?? {};
  // The backend can also be an action that an annotation defines, such as a redirect by the AWS Load Balancer
  // Controller.
  if (name === undefined || port?.name === 'use-annotation') return undefined;
  const full = fullHost(name, ingress.metadata.namespace, mesh.config.clusterDomain);
  const service = mesh.serviceAt(full);
  const named = items(service?.spec.ports).find((each) => port?.name !== undefined && each.name === port.name);
  const isRewritten =
    entry.proxy.by !== 'istio' &&
    Object.keys(labels(ingress.metadata.annotations)).some((one) => /\/(?:rewrite-target|app-root)$/.test(one));
  return publishedExposure(ingress, path, {
    destinationPath: [...backendPath, 'service', 'name'],
    protocol: 'http',
    entries: [entry],
    hosts: [host],
    matches: matchesOf(uris, nginx),
    ...(isRewritten && { rewrite: () => ({ path: 'unknown', headers: [] }) }),
    destination: { host: full, subset: undefined, port: port?.number ?? named?.port },
    service,
  });
}

/** Returns the matches for the given paths. A canary of ingress-nginx may additionally require a header. */
function matchesOf(uris: readonly StringMatch[], given: Labels = {}): readonly HttpMatch[] {
  const header = given.canary === 'true' ? given['canary-by-header'] : undefined;
  const isWeighted = Number(given['canary-weight'] ?? 0) > 0;
  if (header === undefined || isWeighted) return uris.map((uri) => ({ uri }));
  const headers = { [header]: { exact: given['canary-by-header-value'] ?? 'always' } };
  return uris.length === 0 ? [{ headers }] : uris.map((uri) => ({ uri, headers }));
}

/**
 * Translates a path. `ImplementationSpecific` is treated as a plain text prefix, which is the broadest interpretation.
 */
function urisOf({ path = '/', pathType }: IngressPath): readonly StringMatch[] {
  if (path === '/' && pathType !== 'Exact') return [];
  if (pathType === 'Exact') return [{ exact: path }];
  if (pathType === 'Prefix') return segmentPrefix(path);
  return /[()[\]*+?|^$\\]/.test(path) ? [{ regex: path }] : [{ prefix: path }];
}

/**
 * Translates a path of an Ingress of class `istio` into alternative matches. Returns an empty list if every path
 * matches.
 */
function istioUris({ path = '/', pathType }: IngressPath): readonly StringMatch[] {
  if (pathType === 'Exact') return [{ exact: path }];
  if (pathType === 'Prefix') return segmentPrefix(path);
  if (path === '*' || path === '/*' || path === '.*') return [];
  const prefix = /^(.*)(?:\.\*|\/\*)$/.exec(path)?.[1];
  return prefix === undefined ? [{ exact: path }] : segmentPrefix(prefix);
}

/** Creates the entry point for an Ingress. */
function entryPointOf(mesh: MeshView, ingress: Ingress): EntryPoint {
  const { metadata } = ingress;
  const proxy = proxyOf(mesh, ingress);
  return {
    kind: 'Ingress',
    name: `${metadata.namespace}/${metadata.name}`,
    object: ingress,
    ports: [{ number: items(ingress.spec.tls).length > 0 ? 443 : 80, protocol: undefined }],
    proxy,
    ...(proxy.by === 'istio'
      ? uncheckedGateway(mesh, proxy, 'an Ingress of Istio requires no client certificate')
      : { own: identityFromAnnotations(mesh, ingress, proxy.name), internal: whyInternalIngress(mesh, ingress) }),
  };
}

function proxyOf(mesh: MeshView, ingress: Ingress): Exclude<EntryProxy, { readonly by: 'none' }> {
  const { name, object } = ingressClassOf(mesh, ingress);
  const controller = object?.spec.controller;
  if (controller === undefined ? name === 'istio' : controller === ISTIO_CONTROLLER) {
    return { by: 'istio', namespace: undefined, selector: ISTIO_SELECTOR };
  }
  return name === undefined ? { by: 'controller', name: 'the default class' } : controllerProxy(mesh, name);
}
