/** Defines rules about the servers of Gateways. */
import { MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access/compile';
import { fullHost, type Gateway, type GatewayServer, type Labels, selects, serviceName } from '@meshpass/istio';
import { labels, texts } from '@meshpass/istio/members';
import { needsClaim } from '../../exposure/identity.ts';
import { virtualServiceRoutes } from '../../routes/http-routes.ts';
import type { LintContext } from '../context.ts';
import { gatewayServers, hostsOf, objectsOfKind } from '../parts.ts';
import { each, type Part, type Report, type Rule } from '../rule.ts';

const NO_HOST = new Set(['TCP', 'MONGO', 'MYSQL', 'REDIS']);

/**
 * Reports Gateways that serve every host, because any host that a namespace binds to such a Gateway becomes public at
 * once.
 */
const gatewayAnyHost: Rule = {
  code: 'MP201',
  name: 'gateway-any-host',
  severity: 'warning',
  title: 'A Gateway serves every host',
  fix: 'List the hosts, each with the namespace that may serve it: `shop/shop.example.com`.',
  check: each(servedHosts, ({ value, namespace, host }) => {
    if (host !== '*') return undefined;
    const binders =
      namespace === undefined ? 'a VirtualService in any namespace' : `every VirtualService in namespace ${namespace}`;
    return { message: `${value} allows ${binders} to bind any host here: this Gateway does not limit what is public.` };
  }),
};

function servedHosts(context: LintContext) {
  return gatewayServers(context).filter(choosesByHost).flatMap(hostsOf);
}

/**
 * Checks whether a server is restricted by its hosts. AUTO_PASSTHROUGH is covered by a separate rule, and TCP has no
 * hosts.
 */
function choosesByHost({ value: { port, tls } }: Part<GatewayServer>): boolean {
  return tls?.mode !== 'AUTO_PASSTHROUGH' && !NO_HOST.has(String(port?.protocol).toUpperCase());
}

const PLAIN = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB', 'HTTP_PROXY']);

/** Reports Gateways that accept plain HTTP, because it exposes tokens to the network. */
const gatewayPlainHttp: Rule = {
  code: 'MP202',
  name: 'gateway-plain-http',
  severity: 'warning',
  title: 'A Gateway serves plain HTTP',
  fix: 'Set `tls.httpsRedirect: true` on this server and serve HTTPS beside it.',
  check: each(gatewayServers, ({ on, value: { port, tls } }) => {
    if (Object.values(on.spec.selector ?? {}).some((value) => String(value).includes('egress'))) return undefined;
    if (!PLAIN.has(String(port?.protocol).toUpperCase()) || tls?.httpsRedirect === true) return undefined;
    // With any other TLS mode, the port serves HTTPS regardless of its declared protocol.
    if (tls?.mode !== undefined && tls.mode !== 'PASSTHROUGH') return undefined;
    return {
      at: ['port', 'protocol'],
      message: `port ${port?.number ?? '?'} accepts plain HTTP: anyone on the network path can read and change tokens, cookies and paths.`,
    };
  }),
};

/**
 * Reports AUTO_PASSTHROUGH servers whose hosts include services outside the grants. On these listeners the SNI alone
 * selects the service, and Istio adds no authorization filter, so the list of hosts is the only protection.
 */
const passthroughBeyondGrants: Rule = {
  code: 'MP203',
  name: 'passthrough-beyond-grants',
  severity: 'error',
  title: 'An AUTO_PASSTHROUGH server exposes services that are not granted',
  fix: 'List the granted hosts individually, by full name, as the compiler of the access file does.',
  check: each(passedHosts, ({ value, host }, { access, granted }) => {
    if (host.includes('*')) {
      const services = host === '*' || host === '*.local' ? 'every service' : `every service of ${host}`;
      return {
        message: `${value}: connections to ${services} on every port are forwarded, and no AuthorizationPolicy applies at such a server. Only the policies of each workload remain.`,
      };
    }
    if (!access || granted.has(host)) return undefined;
    return { message: `no grant includes ${host}, and this server forwards connections to every port of it.` };
  }),
};

/**
 * Reports hosts of the form `NAMESPACE/HOST` on AUTO_PASSTHROUGH servers. They look like a restriction, but Istio
 * ignores the namespace.
 */
const passthroughNamespaceForm: Rule = {
  code: 'MP204',
  name: 'passthrough-namespace-form',
  severity: 'error',
  title: 'An AUTO_PASSTHROUGH server lists hosts as `namespace/host`, and Istio ignores the namespace',
  fix: 'Write full host names: `orders.shop.svc.cluster.local`.',
  check: each(passedHosts, ({ value, host }) => {
    if (host === value) return undefined;
    const ignored = value.slice(0, value.length - host.length);
    return {
      message: `${ignored} has no effect here: connections to ${host} in every namespace are forwarded.`,
    };
  }),
};

function passedHosts(context: LintContext) {
  return gatewayServers(context)
    .filter(({ on, value }) => value.tls?.mode === 'AUTO_PASSTHROUGH' && !isEastWest(context, on, value))
    .flatMap(hostsOf);
}

const NETWORK_LABEL = 'topology.istio.io/network';
/** The port on which other clusters expect an east-west gateway. */
const EAST_WEST_PORT = 15443;

/**
 * Checks whether a server connects the clusters of a mesh, which requires it to serve every service. It is recognized
 * by its port or by the network label of its proxies. The Meshpass gateway uses the same port, but only exposes
 * services that are granted. Source:
 * https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/
 */
function isEastWest({ mesh }: LintContext, { metadata, spec }: Gateway, { port }: GatewayServer): boolean {
  const [selector, own] = [labels(spec.selector), labels(metadata.labels)];
  const ofMeshpass =
    metadata.namespace === 'meshpass-system' ||
    own[MANAGED_BY_LABEL] === MANAGED_BY ||
    selector.istio === 'meshpass-gateway';
  if (ofMeshpass) return false;
  const isSelected = (pod: Labels) => Object.keys(selector).length > 0 && selects(selector, pod);
  return (
    port?.number === EAST_WEST_PORT ||
    [selector, own].some((one) => one[NETWORK_LABEL] !== undefined) ||
    mesh.pods.some((pod) => pod.labels[NETWORK_LABEL] !== undefined && isSelected(pod.labels))
  );
}

/** Reports Gateways without a selector, because they apply to every gateway proxy in the mesh. */
const gatewaySelectsAll: Rule = {
  code: 'MP206',
  name: 'gateway-selects-all',
  severity: 'error',
  title: 'A Gateway selects every gateway of the mesh',
  fix: 'Select the intended gateway: `selector: {istio: ingressgateway}`.',
  check: each(objectsOfKind('Gateway'), ({ on }) => {
    if (Object.keys(labels(on.spec.selector)).length > 0) return undefined;
    return {
      at: ['spec'],
      part: 'key',
      message: 'without a selector these servers are opened on every gateway of the mesh, including internal ones.',
    };
  }),
};

/** Reports servers that make client certificates optional, because an optional certificate protects nothing. */
const optionalClientCertificate: Rule = {
  code: 'MP207',
  name: 'optional-client-certificate',
  severity: 'warning',
  title: 'A Gateway requests a client certificate and also serves callers without one',
  fix: 'Use `MUTUAL`, or require another identity behind it.',
  check: each(gatewayServers, ({ value: { port, tls } }) => {
    if (tls?.mode !== 'OPTIONAL_MUTUAL') return undefined;
    return {
      at: ['tls', 'mode'],
      message: `OPTIONAL_MUTUAL on port ${port?.number ?? '?'} accepts callers without a certificate: only a policy behind it can refuse them.`,
    };
  }),
};

const BY_CERTIFICATE =
  'anyone with a certificate of the mesh can obtain new ones for up to 90 days, even after their ServiceAccount is deleted';
const BY_TOKEN =
  'the gateway terminates TLS, so that istiod sees no certificate of the caller, and anyone with a ServiceAccount token for istiod can obtain both';

const PORTS = new Map<number | undefined, string>([
  [15010, 'configuration of the mesh, without TLS'],
  [15012, 'configuration and certificates'],
  [15017, 'webhooks'],
  [443, 'webhooks'],
  [8080, 'debugging'],
  [15014, 'metrics and debugging'],
]);

/** Reports servers and routes through which the mesh's certificate authority can be reached from outside. */
const istiodReachable: Rule = {
  code: 'MP205',
  name: 'istiod-reachable',
  severity: 'error',
  title: 'istiod is reachable through a gateway',
  fix: 'Remove the route. Only a remote cluster of a multi-primary mesh needs it, on its own network. In that case, suppress this finding with that reason.',
  *check(context) {
    yield* routesToIstiod(context);
    const { rootNamespace, clusterDomain } = context.mesh.config;
    for (const { on, value: server, path } of gatewayServers(context)) {
      const passes =
        server.tls?.mode === 'AUTO_PASSTHROUGH' &&
        (server.hosts ?? []).includes(`istiod.${rootNamespace}.svc.${clusterDomain}`);
      if (server.port?.number !== 15012 && !passes) continue;
      yield {
        on,
        path: [...path, ...(passes ? ['hosts'] : ['port', 'number'])],
        message: `this server exposes istiod's port 15012: ${exposedAt(15012, terminates(server))}.`,
      };
    }
  },
};

function exposedAt(port: number, isTerminated: boolean): string {
  const exposed = PORTS.get(port) ?? 'its control plane';
  return port === 15012 ? `${exposed}: ${isTerminated ? BY_TOKEN : BY_CERTIFICATE}` : exposed;
}

/** Checks whether a gateway terminates its callers' TLS instead of passing it through to istiod. */
function terminates({ tls }: GatewayServer): boolean {
  return tls?.mode !== undefined && !/PASSTHROUGH$/.test(tls.mode);
}

function* routesToIstiod({ mesh }: LintContext): Generator<Report> {
  const { rootNamespace, clusterDomain } = mesh.config;
  const bound = mesh.all('VirtualService').filter(({ spec }) => texts(spec.gateways).some((one) => one !== 'mesh'));
  const destinations = bound
    .flatMap(virtualServiceRoutes(mesh))
    .flatMap(({ destinations, ...route }) =>
      destinations.map(({ destination }, nth) => ({ ...route, nth, destination })),
    );
  for (const { on, path, protocol, matches, nth, destination } of destinations) {
    const host = fullHost(destination?.host ?? '', on.metadata.namespace, clusterDomain);
    const name = serviceName(host, clusterDomain);
    if (name?.namespace !== rootNamespace || !/^istiod(?:-|$)/.test(name.name)) continue;
    const port = destination?.port?.number;
    // An HTTP route has to read the request, which the gateway can only do after decrypting it.
    const isHttp = protocol === 'http';
    const isVerified = matches.length > 0 && matches.every(needsClaim);
    yield {
      on,
      path: [...path, 'route', nth, 'destination', 'host'],
      ...(isVerified && { severity: 'warning' as const }),
      message: `port ${port ?? '15012 and every other'} of ${host} becomes reachable through a gateway${isVerified ? ' with a verified token' : ''}: ${exposedAt(port ?? 15012, isHttp)}.`,
    };
  }
}

export const GATEWAY_SERVER_RULES: readonly Rule[] = [
  gatewayAnyHost,
  gatewayPlainHttp,
  passthroughBeyondGrants,
  passthroughNamespaceForm,
  istiodReachable,
  gatewaySelectsAll,
  optionalClientCertificate,
];
