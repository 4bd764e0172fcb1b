/** Pairs of manifests of the linter's corpus, and what of them has another name in the lab. */

export interface Pair {
  /** Files below `exposure-corpus`, without `.yaml`. */
  readonly bad: string;
  readonly good: string;
  /** State before, for MP102. */
  readonly base?: string;
  /** Replacements, in order. */
  readonly replace?: readonly (readonly [from: RegExp, to: string])[];
  /** Objects of every state, which the manifests leave to others. */
  readonly also?: string;
  /** Request instead of the witness, if that is a connection to a port behind a gateway. */
  readonly asked?: string;
  /** What only the workload answers; JSON otherwise. */
  readonly answer?: RegExp;
  /** How often the request is sent, if not every one is for the workload. */
  readonly tries?: number;
  /** Host and port of the Pod that the entry point leads to, if no gateway is in between. */
  readonly pod?: { readonly name: string; readonly port: number };
}

type Replacements = NonNullable<Pair['replace']>;

/** The echo service listens on 8080. */
const PORTS: Replacements = [[/(?<=ports: \[\{name: [\w-]+, port: \d+)\}/g, ', targetPort: 8080}']];
/** The ServiceAccounts and Pods of orders have the label `app`. */
const ORDERS: Replacements = [[/app\.kubernetes\.io\/name: orders/g, 'app: orders']];
/** The only Gateway of the Gateway API is `shop/public`. */
const IN_SHOP: Replacements = [
  [/(?<=namespace: |name: )(?:edge|istio-ingress)(?=[,}])/g, 'shop'],
  [/\bshared\b/g, 'public'],
  ...PORTS,
];
/** What is in a namespace of its own moves to `shop`: its Pods are those of orders, and its name says that it is a test. */
const moved = (namespace: string, service: string, gateway = 'public'): Replacements => [
  [new RegExp(`(?<=name: )${gateway}(?=[,}])`, 'g'), 'public'],
  [new RegExp(`app(?:\\.kubernetes\\.io/name)?: ${service}(?=[,}])`, 'g'), 'app: orders'],
  [new RegExp(`(?<=name: )${service}(?=[, }])`, 'g'), `${service}-staging`],
  [new RegExp(`\\b${namespace}\\b`, 'g'), 'shop'],
  ...PORTS,
];
const GRAFANA: Replacements = [
  [/\bmonitoring\b/g, 'shop-staging'],
  [/(?<=selector: \{|matchLabels: \{|labels: \{)app\.kubernetes\.io\/name: grafana/g, 'app.kubernetes.io/name: web'],
  [/3000/g, '8080'],
];
const LEDGER: Replacements = [[/8080\|\|ledger\.bank/g, '8080||orders.shop']];
const inNamespace = (from: string, to: string): Replacements => [
  [new RegExp(`(?<=namespace: |name: |hosts: \\[)${from}(?=[,}/])`, 'g'), to],
];
/** The stand-in speaks HTTP only. */
const GRPC: Replacements = [[/name: grpc(?=,)/g, 'name: http']];
/** Istio's default, instead of the lab's STRICT. */
const PERMISSIVE = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: PERMISSIVE}}
`;
/** A route of the host whose virtual host an EnvoyFilter changes. */
const SHOP = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [istio-ingress/public]
  http: [{match: [{uri: {exact: /shop}}], directResponse: {status: 204}}]
`;

const ORDERS_POD = { name: 'orders', port: 8080 };
const STAGING_POD = { name: 'staging', port: 8080 };
const BASE = '../given/entry-points';

export const PAIRS: readonly Pair[] = [
  // Gateways and VirtualServices of Istio
  {
    bad: 'istio-gateway/MP101-bad-one-of-two-hosts',
    good: 'istio-gateway/MP101-good-token-allowed-only',
    replace: PORTS,
  },
  { bad: 'istio-gateway/MP101-bad-one-of-two-hosts', good: 'istio-gateway/MP101-good-peer-required', replace: PORTS },
  {
    bad: 'istio-gateway/MP101-bad-one-of-two-hosts',
    good: 'istio-gateway/MP101-good-namespace-not-served',
    replace: PORTS,
  },
  {
    bad: 'istio-gateway/MP101-bad-one-of-two-hosts',
    good: 'istio-gateway/MP101-good-every-call-aborted',
    replace: PORTS,
  },
  {
    bad: 'istio-gateway/MP101-bad-optional-certificate',
    good: 'istio-gateway/MP101-good-certificate-for-that-host',
    replace: inNamespace('partners-uat', 'shop-staging'),
  },
  {
    bad: 'istio-gateway/MP101-bad-token-for-one-method',
    good: 'istio-gateway/MP101-good-token-allowed-only',
    replace: PORTS,
  },
  { bad: 'istio-gateway/MP101-bad-dry-run', good: 'istio-gateway/MP101-good-token-allowed-only', replace: PORTS },
  { bad: 'checks/MP101-bad-host-denied-without-its-port', good: 'checks/MP101-good-host-denied-with-every-port' },
  {
    bad: 'routes-reached/MP101-bad-refused-without-a-header',
    good: 'routes-reached/MP101-good-refused-without-a-claim',
  },
  { bad: 'routes-reached/MP101-bad-exported-to-the-gateway', good: 'routes-reached/MP101-good-exported-elsewhere' },
  { bad: 'routes-reached/MP101-bad-only-destination-without-weight', good: 'routes-reached/MP101-good-weight-of-zero' },
  { bad: 'routes-reached/MP101-bad-behind-a-route-for-another-port', good: 'routes-reached/MP101-good-egress-gateway' },
  {
    bad: 'foreign-objects/MP101-bad-policy-outside-the-gateways-namespace',
    good: 'foreign-objects/MP101-good-policy-in-the-gateways-namespace',
  },
  {
    bad: 'foreign-objects/MP101-bad-filter-of-another-namespace',
    good: 'foreign-objects/MP101-good-policy-in-the-root-namespace',
  },
  { bad: 'sidecar-ingress/MP101-bad-through-the-gateway', good: 'sidecar-ingress/MP101-good-identity-at-the-workload' },
  // Gateway API
  {
    bad: 'http-route/MP101-bad-through-http-route',
    good: 'http-route/MP101-good-policy-of-the-gateway',
    replace: IN_SHOP,
  },
  {
    bad: 'http-route/MP101-bad-through-http-route',
    good: 'http-route/MP101-good-namespace-not-selected',
    replace: IN_SHOP,
  },
  {
    bad: 'http-route/MP101-bad-guard-for-another-method',
    good: 'http-route/MP101-good-guard-for-the-method',
    replace: moved('shop-staging', 'web'),
  },
  {
    bad: 'http-route/MP101-bad-hostname-of-the-listener',
    good: 'http-route/MP101-good-hostnames-do-not-meet',
    replace: [...moved('orders-qa', 'orders'), ...IN_SHOP],
  },
  {
    bad: 'http-route/MP101-bad-weighted-backend',
    good: 'http-route/MP101-good-weight-of-zero',
    replace: PORTS,
    answer: /checkout-test/,
    tries: 60,
  },
  {
    bad: 'http-route/MP101-bad-policy-of-another-gateway',
    good: 'http-route/MP101-good-policy-by-label',
    replace: IN_SHOP,
  },
  {
    bad: 'grpc-route/MP101-bad-through-grpc-route',
    good: 'grpc-route/MP101-good-hostname-of-another-domain',
    replace: [...inNamespace('(?:boutique|rpc)-staging', 'shop-staging'), ...GRPC, ...IN_SHOP],
  },
  {
    bad: 'grpc-route/MP101-bad-guard-for-another-service',
    good: 'grpc-route/MP101-good-guard-for-the-service',
    replace: [...inNamespace('rpc-staging', 'shop'), ...GRPC, ...IN_SHOP],
  },
  {
    bad: 'tls-route/MP101-bad-passed-through',
    good: 'tls-route/MP101-good-hostnames-do-not-meet',
    replace: [...inNamespace('registry-staging', 'shop-staging'), ...IN_SHOP],
  },
  {
    bad: 'tcp-route/MP101-bad-database',
    good: 'tcp-route/MP101-good-no-such-port',
    replace: [
      ...moved('shop-test', 'postgresql', 'databases'),
      ...inNamespace('queues', 'shop'),
      [/brokers/g, 'public'],
      [/5432|9092/g, '31400'],
    ],
  },
  {
    bad: 'listener-set/MP101-bad-through-listener-set',
    good: 'listener-set/MP101-good-namespace-not-selected',
    replace: IN_SHOP,
  },
  {
    bad: 'listener-set/MP101-bad-through-listener-set',
    good: 'listener-set/MP101-good-policy-of-the-gateway',
    replace: IN_SHOP,
  },
  { bad: 'reference-grant/MP101-bad-granted', good: 'reference-grant/MP101-good-no-grant' },
  { bad: 'reference-grant/MP101-bad-grant-by-name', good: 'reference-grant/MP101-good-grant-for-another-service' },
  {
    bad: 'gateway-listener/MP101-bad-listener-without-certificate',
    good: 'gateway-listener/MP101-good-client-certificate',
    replace: [...moved('shop-qa', 'web'), ...moved('partners-uat', 'api', 'partners')],
  },
  {
    bad: 'gateway-listener/MP101-bad-client-certificate-not-needed',
    good: 'gateway-listener/MP101-good-client-certificate',
    replace: moved('partners-uat', 'api', 'partners'),
  },
  {
    bad: 'compare/MP102-bad-new-http-route',
    good: 'compare/MP102-good-route-that-does-not-attach',
    base: BASE,
    replace: inNamespace('bookinfo', 'shop'),
  },
  {
    bad: 'compare/MP102-bad-wider-path',
    good: 'compare/MP102-good-narrower-path',
    base: BASE,
    replace: inNamespace('bookinfo', 'shop'),
  },
  {
    bad: 'compare/MP102-bad-identity-removed',
    good: 'compare/MP102-good-identity-kept',
    base: BASE,
    replace: inNamespace('bank', 'shop'),
  },
  // Ingresses
  { bad: 'ingress/MP101-bad-istio-class', good: 'ingress/MP101-good-istio-class-with-identity', replace: PORTS },
  {
    bad: 'ingress-annotations/MP101-bad-istio-ignores-redirect',
    good: 'ingress/MP101-good-istio-class-with-identity',
    replace: PORTS,
  },
  // Around the mesh
  { bad: 'node-port/MP702-bad-permissive', good: 'node-port/MP702-good-strict', replace: ORDERS, pod: ORDERS_POD },
  {
    bad: 'node-port/MP702-bad-permissive',
    good: 'node-port/MP702-good-allowed-callers-only',
    replace: ORDERS,
    pod: ORDERS_POD,
  },
  {
    bad: 'load-balancer/MP702-bad-port-without-mutual-tls',
    good: 'load-balancer/MP702-good-strict-in-the-whole-mesh',
    replace: ORDERS,
    pod: ORDERS_POD,
  },
  {
    bad: 'load-balancer/MP101-bad-another-workload-is-strict',
    good: 'load-balancer/MP101-good-mutual-tls-only',
    pod: STAGING_POD,
    also: PERMISSIVE,
  },
  {
    bad: 'host-port/MP101-bad-staging',
    good: 'host-port/MP101-good-mutual-tls-only',
    pod: STAGING_POD,
    also: PERMISSIVE,
  },
  {
    bad: 'external-ips/MP101-bad-staging',
    good: 'external-ips/MP101-good-mutual-tls-only',
    pod: STAGING_POD,
    also: PERMISSIVE,
  },
  // Administration
  { bad: 'admin-tools/MP701-bad-grafana', good: 'admin-tools/MP701-good-grafana-with-identity', replace: GRAFANA },
  {
    bad: 'admin-tools/MP701-bad-grafana-identity-for-another-host',
    good: 'admin-tools/MP701-good-grafana-with-identity',
    replace: GRAFANA,
  },
  {
    bad: 'sidecar-ingress/MP701-bad-envoy-admin',
    good: 'sidecar-ingress/MP701-good-application',
    replace: inNamespace('shop', 'shop-staging'),
    asked: 'https://shop.example.com/server_info',
    answer: /"state": "LIVE"/,
  },
  // EnvoyFilters
  {
    bad: 'envoy-filter/MP703-bad-route-first',
    good: 'envoy-filter/MP703-good-direct-response',
    replace: LEDGER,
    also: SHOP,
  },
  { bad: 'envoy-filter/MP703-bad-any-context', good: 'envoy-filter/MP703-good-redirect', replace: LEDGER, also: SHOP },
  {
    bad: 'envoy-filter/MP703-bad-virtual-host',
    good: 'envoy-filter/MP703-good-virtual-host-with-identity',
    also: SHOP,
  },
  {
    bad: 'envoy-filter/MP703-bad-listener',
    good: 'envoy-filter/MP703-good-rate-limit',
    replace: [[/6379\|\|redis/g, '8080||orders']],
  },
  {
    bad: 'envoy-filter/MP703-bad-in-the-root-namespace',
    good: 'envoy-filter/MP703-good-outbound-of-sidecars',
    replace: LEDGER,
    also: SHOP,
  },
];
