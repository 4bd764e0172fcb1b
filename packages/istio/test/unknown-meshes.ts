/**
 * Meshes in which neither an unmodified sidecar nor a ztunnel guards the workload shop/orders, each with the reason that
 * every command must report.
 */
const meta = (name: string, more = '') => `{name: ${name}, namespace: shop${more}}`;

export const SERVICE = `
apiVersion: v1
kind: Service
metadata: ${meta('orders')}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
`;
/** Includes an ALLOW, so that policies alone would allow some calls and deny others. */
export const POLICY = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: ${meta('orders')}
spec: {selector: {matchLabels: {app: orders}}, rules: [{from: [{source: {namespaces: [dev]}}]}]}
`;
export const namespace = (labels: string) => `---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {${labels}}}
`;
const INJECTED = namespace('istio-injection: enabled');
const APP = '{name: orders, image: orders}';
const deployment = ({ labels = '', annotations = '', spec = '', containers = APP } = {}) => `---
apiVersion: apps/v1
kind: Deployment
metadata: ${meta('orders')}
spec:
  template:
    metadata: {labels: {app: orders${labels}}, annotations: {${annotations}}}
    spec: {containers: [${containers}]${spec}}
`;
const pod = ({ labels = '', annotations = '', containers = APP, spec = '' } = {}) => `---
apiVersion: v1
kind: Pod
metadata: {name: orders-1, namespace: shop, uid: 0b3c, labels: {app: orders${labels}}, annotations: {${annotations}}}
spec: {containers: [${containers}]${spec}}
status: {phase: Running}
`;
const PROXY = `${APP}, {name: istio-proxy, image: proxyv2}`;
const filter = (patch: string, at = 'shop') => `---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: ${at}}
spec: {configPatches: [{${patch}}]}
`;

/** Meshes with a standard sidecar: name, and manifests without Service and policy. */
export const UNDERSTOOD: readonly (readonly [string, string])[] = [
  ['manifests without a Namespace', ''],
  ['a Deployment without a Namespace', deployment()],
  ['a namespace that is injected', INJECTED + deployment()],
  ['a namespace with a revision', namespace('istio.io/rev: stable') + deployment()],
  ['a Pod that requests its sidecar', namespace('') + deployment({ labels: ', sidecar.istio.io/inject: "true"' })],
  ['a Pod that runs with a proxy, in a namespace without labels', namespace('') + pod({ containers: PROXY })],
  [
    'a proxy as a sidecar of Kubernetes',
    namespace('') + pod({ spec: ', initContainers: [{name: istio-proxy, restartPolicy: Always}]' }),
  ],
  ['a Deployment whose Pods run with a proxy', namespace('') + deployment() + pod({ containers: PROXY })],
  [
    'a Pod with a sidecar in an ambient namespace, which the CNI agent skips',
    namespace('istio.io/dataplane-mode: ambient') + pod({ containers: PROXY }),
  ],
  [
    'a Pod with a sidecar and a label for ambient mode',
    INJECTED + deployment({ labels: ', istio.io/dataplane-mode: ambient' }),
  ],
  [
    'another port excluded',
    INJECTED + deployment({ annotations: 'traffic.sidecar.istio.io/excludeInboundPorts: "9090"' }),
  ],
  ['a namespace that uses no waypoint', namespace('istio-injection: enabled, istio.io/use-waypoint: none')],
  ['an EnvoyFilter on the way out', filter('applyTo: HTTP_FILTER, match: {context: SIDECAR_OUTBOUND}')],
  ['an EnvoyFilter on a cluster', filter('applyTo: CLUSTER')],
  ['an EnvoyFilter of another namespace', filter('applyTo: HTTP_FILTER', 'dev')],
];

/** Meshes in ambient mode: name, and manifests without Service and policy. Grants work in none of them. */
export const AMBIENT: readonly (readonly [string, string])[] = [
  ['an ambient namespace', namespace('istio.io/dataplane-mode: ambient') + deployment()],
  ['an ambient namespace without a known Pod', namespace('istio.io/dataplane-mode: ambient')],
  ['an ambient Pod', namespace('') + deployment({ labels: ', istio.io/dataplane-mode: ambient' })],
  ['a Pod that runs in ambient mode', namespace('') + pod({ annotations: 'ambient.istio.io/redirection: enabled' })],
];

/** Name, manifests without Service and policy, and reason. */
export const UNKNOWN: readonly (readonly [string, string, RegExp])[] = [
  [
    'a Pod in ambient mode that calls may bypass',
    namespace('istio.io/dataplane-mode: ambient') +
      deployment({ annotations: 'ambient.istio.io/bypass-inbound-capture: "true"' }),
    /bypass the ztunnel/,
  ],
  [
    'a Pod that runs in an ambient namespace and was not captured',
    namespace('istio.io/dataplane-mode: ambient') + pod(),
    /has not annotated the Pod/,
  ],
  [
    'one of several Pods in ambient mode',
    namespace('istio.io/dataplane-mode: ambient') + pod({ containers: PROXY }) + deployment(),
    /some of its Pods are in ambient mode/,
  ],
  [
    'a policy with an empty selector in ambient mode',
    `${namespace('istio.io/dataplane-mode: ambient')}---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: ${meta('wide')}\nspec: {selector: {}, mtls: {mode: STRICT}}\n`,
    /the selector of PeerAuthentication shop\/wide is empty/,
  ],
  [
    'a waypoint of the namespace',
    namespace('istio-injection: enabled, istio.io/use-waypoint: gate'),
    /the waypoint gate/,
  ],
  ['a waypoint of the Pod', INJECTED + deployment({ labels: ', istio.io/use-waypoint: gate' }), /the waypoint gate/],
  [
    'a waypoint of another Service of the workload',
    `---\napiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop, labels: {istio.io/use-waypoint: gate}}\nspec: {selector: {app: orders}, ports: [{port: 9}]}\n`,
    /the waypoint gate/,
  ],
  [
    'injection off by label',
    INJECTED + deployment({ labels: ', sidecar.istio.io/inject: "false"' }),
    /disables its sidecar/,
  ],
  [
    'injection off by annotation',
    deployment({ annotations: 'sidecar.istio.io/inject: "false"' }),
    /disables its sidecar/,
  ],
  ['a namespace without labels', namespace('') + deployment(), /neither istio-injection nor istio\.io\/rev/],
  ['a namespace without labels and without a known Pod', namespace(''), /neither istio-injection nor istio\.io\/rev/],
  ['a namespace that is never injected', namespace('istio-injection: disabled'), /disabled in namespace shop/],
  ['a Pod that runs without a proxy', INJECTED + pod(), /runs without an istio-proxy container/],
  [
    'one of several Pods without a proxy',
    INJECTED + pod({ containers: PROXY }) + pod().replace('orders-1', 'orders-2'),
    /without an istio-proxy/,
  ],
  [
    'an init container that is not restartable',
    pod({ spec: ', initContainers: [{name: istio-proxy}]' }),
    /without an istio-proxy/,
  ],
  ['the network of the node', INJECTED + deployment({ spec: ', hostNetwork: true' }), /uses the host network/],
  ['gRPC without a proxy', deployment({ annotations: 'inject.istio.io/templates: grpc-agent' }), /template grpc-agent/],
  [
    'a port that is excluded',
    deployment({ annotations: 'traffic.sidecar.istio.io/excludeInboundPorts: "9090, 8080"' }),
    /bypasses the sidecar/,
  ],
  [
    'included ports that omit this one',
    deployment({ annotations: 'traffic.sidecar.istio.io/includeInboundPorts: "9090"' }),
    /bypasses the sidecar/,
  ],
  [
    'a port that istio-init excluded',
    pod({
      containers: PROXY,
      spec: ', initContainers: [{name: istio-init, args: [istio-iptables, -d, "15021,8080"]}]',
    }),
    /port 8080 bypasses the sidecar/,
  ],
  [
    'interception switched off',
    deployment({ annotations: 'sidecar.istio.io/interceptionMode: NONE' }),
    /does not intercept traffic/,
  ],
  ['a custom bootstrap', deployment({ annotations: 'sidecar.istio.io/bootstrapOverride: mine' }), /bootstrapOverride/],
  [
    'an EnvoyFilter',
    filter('applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}'),
    /EnvoyFilter shop\/lua changes its proxy/,
  ],
  ['an EnvoyFilter of the mesh', filter('applyTo: NETWORK_FILTER', 'istio-system'), /EnvoyFilter istio-system\/lua/],
  [
    'a WasmPlugin',
    `---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: ${meta('auth')}\nspec: {url: oci://x, phase: AUTHN}\n`,
    /WasmPlugin shop\/auth changes its proxy/,
  ],
  [
    'a TrafficExtension',
    `---\napiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: ${meta('code')}\nspec: {lua: {inlineCode: x}, match: [{mode: SERVER}]}\n`,
    /TrafficExtension shop\/code changes its proxy/,
  ],
  [
    'a policy of one revision of istiod',
    `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: ${meta('canary', ', labels: {istio.io/rev: canary}')}\nspec: {}\n`,
    /only istiods of revision canary enforce AuthorizationPolicy shop\/canary/,
  ],
  [
    'mutual TLS of one revision of istiod, in the whole mesh',
    '---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: canary, namespace: istio-system, labels: {istio.io/rev: canary}}\nspec: {mtls: {mode: DISABLE}}\n',
    /only istiods of revision canary enforce PeerAuthentication istio-system\/canary/,
  ],
  [
    'a Gateway that selects the workload',
    `---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: ${meta('public')}\nspec: {selector: {app: orders}, servers: []}\n`,
    /it is a gateway/,
  ],
  [
    'a gateway of the Gateway API',
    deployment({ labels: ', gateway.networking.k8s.io/gateway-name: public' }),
    /it is a gateway/,
  ],
  ['a waypoint', deployment({ labels: ', gateway.istio.io/managed: istio.io-mesh-controller' }), /it is a waypoint/],
  [
    'a ServiceEntry that also declares its port',
    `---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: ${meta('entry')}\nspec: {hosts: [a.test], ports: [{number: 8080, name: tcp, protocol: TCP}], resolution: STATIC, workloadSelector: {labels: {app: orders}}}\n`,
    /ServiceEntry shop\/entry also declares port 8080/,
  ],
  [
    'a Sidecar that terminates TLS',
    `---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: ${meta('tls')}\nspec: {ingress: [{port: {number: 8080, protocol: HTTPS, name: https}, tls: {mode: SIMPLE}}]}\n`,
    /Sidecar shop\/tls terminates TLS/,
  ],
];
