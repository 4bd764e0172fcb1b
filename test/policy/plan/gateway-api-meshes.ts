/**
 * Meshes of sidecars whose routes are all of the Gateway API: no VirtualService and no Gateway of Istio. HTTPRoutes of a
 * Service (GAMMA) route calls inside, and a Gateway of class istio lets calls in.
 */
import { BOTH_PORTS, CLAIMS, OPERATIONS, WHOLE } from './files.ts';
import { TEAM, TEAM_JWKS } from './inside.ts';
import { appOf, httpRoute, kubernetesGateway, type Mesh, namespaces, policy, tokensOf } from './mesh.ts';

const GROUP = 'gateway.networking.k8s.io';
/** The lab serves a Gateway by a proxy that runs already. */
const PUBLIC = kubernetesGateway('istio-ingress', 'public', {
  gatewayClassName: 'istio',
  addresses: [{ type: 'Hostname', value: 'istio-ingressgateway.istio-ingress.svc.cluster.local' }],
  listeners: [{ name: 'http', port: 80, protocol: 'HTTP', allowedRoutes: { namespaces: { from: 'All' } } }],
});
const FROM_PUBLIC = httpRoute('shop', 'public', {
  parentRefs: [{ group: GROUP, kind: 'Gateway', name: 'habit-public', namespace: 'istio-ingress' }],
  hostnames: ['shop.example.com'],
  rules: [
    {
      matches: [{ path: { type: 'PathPrefix', value: '/orders' }, method: 'GET' }],
      backendRefs: [{ name: 'orders', port: 8080 }],
    },
  ],
});
const service = (name: string, port: number, namespace = 'shop') => ({
  group: '',
  kind: 'Service',
  name,
  namespace,
  port,
});
const toOrders = { backendRefs: [{ name: 'orders', port: 8080 }] };
const red = { matches: [{ headers: [{ name: 'x-team', value: 'red' }] }] };

export const GATEWAY_API: readonly Mesh[] = [
  {
    name: 'with HTTPRoutes of services, which rewrite and redirect',
    objects: () => [
      httpRoute('shop', 'orders', {
        parentRefs: [service('orders', 8080)],
        rules: [
          {
            ...red,
            filters: [
              {
                type: 'RequestRedirect',
                requestRedirect: { path: { type: 'ReplaceFullPath', replaceFullPath: '/x' } },
              },
            ],
          },
          {
            matches: [{ path: { type: 'Exact', value: '/refunds' } }],
            filters: [
              {
                type: 'URLRewrite',
                urlRewrite: { path: { type: 'ReplaceFullPath', replaceFullPath: '/orders/1' } },
              },
            ],
            ...toOrders,
          },
          toOrders,
        ],
      }),
    ],
    inside: { 'client reads in team red': '302', 'client refunds': '200', 'web refunds': '200' },
    cases: [{ file: OPERATIONS }, { file: WHOLE }],
  },
  {
    name: 'with an HTTPRoute that splits calls between ports, and a namespace that denies by default',
    objects: () => [
      policy('shop', 'nothing', {}),
      policy('shop', 'own', { rules: [namespaces('shop')] }),
      httpRoute('shop', 'orders', {
        parentRefs: [service('orders', 8080)],
        rules: [{ ...red, backendRefs: [{ name: 'orders', port: 9090 }] }, toOrders],
      }),
    ],
    inside: { 'web reads': '403', 'web refunds': '403', 'web on 9090': '403', 'web to ledger': 'closed' },
    cases: [{ file: BOTH_PORTS }],
  },
  {
    name: 'with a Gateway of class istio, whose identity alone may call',
    objects: () => [
      PUBLIC,
      FROM_PUBLIC,
      policy('shop', 'public', {
        ...appOf('orders'),
        rules: [
          {
            from: [{ source: { principals: ['cluster.local/ns/istio-ingress/sa/istio-ingressgateway'] } }],
            to: [{ operation: { methods: ['GET'], paths: ['/orders/*'] } }],
          },
        ],
      }),
    ],
    inside: {
      'through the ingress': '200',
      'client reads': '403',
      'client refunds': '403',
      'client administers': '403',
      'client on 9090': '403',
      'client reads in team red': '403',
      'client reads with a token': '403',
      'web reads': '403',
      'web refunds': '403',
      'web on 9090': '403',
    },
    cases: [{ file: OPERATIONS }, { file: CLAIMS }],
  },
  {
    name: 'with policies that target a Gateway',
    objects: () => [
      PUBLIC,
      FROM_PUBLIC,
      tokensOf('istio-ingress', 'public', {
        targetRefs: [{ group: GROUP, kind: 'Gateway', name: 'habit-public' }],
        jwtRules: [{ issuer: TEAM, jwks: TEAM_JWKS }],
      }),
      policy('istio-ingress', 'public', {
        targetRefs: [{ group: GROUP, kind: 'Gateway', name: 'habit-public' }],
        action: 'DENY',
        rules: [{ from: [{ source: { notRequestPrincipals: ['*'] } }] }],
      }),
    ],
    inside: { 'through the ingress': '200' },
    cases: [{ file: OPERATIONS }],
  },
  {
    name: 'with an HTTPRoute of a consumer, for callers of its namespace',
    objects: () => [
      policy('shop', 'callers', { ...appOf('orders'), rules: [namespaces('shop', 'dev')] }),
      httpRoute('dev', 'orders', {
        parentRefs: [service('orders', 8080)],
        rules: [
          {
            filters: [
              {
                type: 'RequestRedirect',
                requestRedirect: { path: { type: 'ReplaceFullPath', replaceFullPath: '/x' } },
              },
            ],
          },
        ],
      }),
    ],
    inside: { 'web reads': '302', 'web refunds': '302' },
    cases: [{ file: BOTH_PORTS }, { file: CLAIMS }],
  },
];
