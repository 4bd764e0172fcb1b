/** Meshes as teams keep them, and access files to plan against each. */
import { type Access, parseAccess } from '@meshpass/access';
import type { KubeObject } from '@meshpass/lab/kubernetes';

export type Call = readonly [grant: 'dev' | 'ops', method: string, target: string, path: string];

export const policy = (namespace: string, name: string, spec: object): KubeObject => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: `habit-${name}`, namespace },
  spec,
});
const peers = (namespace: string, mode: string): KubeObject => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'habit', namespace },
  spec: { mtls: { mode } },
});
const from = (...namespaces: string[]) => ({ from: [{ source: { namespaces } }] });

/** `inside` is what calls between workloads of the mesh answer in it. */
export const MESHES: readonly { name: string; objects: readonly KubeObject[]; inside: string }[] = [
  { name: 'open', objects: [], inside: '200,201,200,200,200,answered' },
  {
    name: 'denied by default',
    objects: [
      policy('shop', 'nothing', {}),
      policy('shop', 'read', {
        selector: { matchLabels: { app: 'orders' } },
        rules: [{ ...from('shop'), to: [{ operation: { methods: ['GET'], paths: ['/orders/*'] } }] }],
      }),
    ],
    inside: '200,403,403,403,200,closed',
  },
  {
    name: 'with ALLOW policies and a DENY of its own',
    objects: [
      policy('istio-system', 'known', {
        rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/*'] } }] }],
      }),
      policy('shop', 'ledger', {
        selector: { matchLabels: { app: 'ledger-db' } },
        rules: [{ ...from('shop'), to: [{ operation: { ports: ['5432'] } }] }],
      }),
      policy('shop', 'no-admin', {
        selector: { matchLabels: { app: 'orders' } },
        action: 'DENY',
        rules: [{ to: [{ operation: { paths: ['/admin*'], ports: ['8080'] } }] }],
      }),
    ],
    inside: '200,201,403,200,200,answered',
  },
  {
    name: 'PERMISSIVE',
    objects: [peers('shop', 'PERMISSIVE'), peers('dev', 'PERMISSIVE')],
    inside: '200,201,200,200,200,answered',
  },
  {
    name: 'labelled for ambient, with a policy of a waypoint',
    objects: [
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'dev', labels: { 'istio.io/dataplane-mode': 'ambient' } },
      },
      policy('shop', 'waypoint', {
        targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' }],
        rules: [from('nobody')],
      }),
    ],
    inside: '200,201,200,200,200,answered',
  },
];

/** An access file, with calls that it grants and calls that it does not. */
export interface File {
  readonly name: string;
  readonly dev: string;
  readonly ops: string;
  readonly granted: readonly Call[];
  readonly refused: readonly Call[];
}

export const FILES: readonly File[] = [
  {
    name: 'operations and a database',
    dev: '[{service: orders.shop, port: 8080, allow: [GET /orders/*, POST /refunds]}]',
    ops: '[{service: ledger-db.shop, port: 5432}]',
    granted: [
      ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
      ['dev', 'POST', 'orders.shop:8080', '/refunds'],
      ['ops', 'TCP', 'ledger-db.shop:5432', ''],
    ],
    refused: [
      ['dev', 'DELETE', 'orders.shop:8080', '/orders/1'],
      ['dev', 'GET', 'orders.shop:8080', '/admin/x'],
      ['dev', 'TCP', 'ledger-db.shop:5432', ''],
      ['ops', 'GET', 'orders.shop:8080', '/orders/1'],
    ],
  },
  {
    name: 'a whole port, and templates',
    dev: '[{service: web.dev, port: 80}]',
    ops: '[{service: orders.shop, port: 8080, allow: ["GET /orders/{*}", "GET /whoami"]}]',
    granted: [
      ['dev', 'GET', 'web.dev:80', '/'],
      ['ops', 'GET', 'orders.shop:8080', '/orders/1'],
      ['ops', 'GET', 'orders.shop:8080', '/whoami'],
    ],
    refused: [
      ['ops', 'GET', 'orders.shop:8080', '/orders/1/2'],
      ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
      ['ops', 'GET', 'web.dev:80', '/'],
    ],
  },
  {
    name: 'operations that are still refused, and required claims',
    dev: '[{service: orders.shop, port: 8080, allow: ["* /orders/*"], deny: ["DELETE /orders/*"], require: {level: [senior]}}]',
    ops: '[{service: orders.shop, port: 8080, allow: ["GET /orders/*"], require: {level: [principal]}}, {service: web.dev, port: 80}]',
    granted: [
      ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
      ['ops', 'GET', 'web.dev:80', '/'],
    ],
    refused: [
      ['dev', 'DELETE', 'orders.shop:8080', '/orders/1'],
      ['ops', 'GET', 'orders.shop:8080', '/orders/1'],
      ['dev', 'GET', 'web.dev:80', '/'],
    ],
  },
  {
    name: 'both ports of one service, and a service by its label',
    dev: '[{service: orders.shop, port: 9090, allow: ["GET /admin/*"]}, {service: orders.shop, port: 8080, allow: ["* /orders/*"]}]',
    ops: '[{service: ledger-db.shop, port: 5432}, {service: orders.shop, port: 8080, allow: ["POST /refunds"]}]',
    granted: [
      ['dev', 'GET', 'orders.shop:9090', '/admin/x'],
      ['dev', 'PUT', 'orders.shop:8080', '/orders/1'],
      ['ops', 'TCP', 'ledger-db.shop:5432', ''],
      ['ops', 'POST', 'orders.shop:8080', '/refunds'],
    ],
    refused: [
      ['dev', 'GET', 'orders.shop:8080', '/admin/x'],
      ['dev', 'GET', 'orders.shop:9090', '/orders/1'],
      ['ops', 'GET', 'orders.shop:9090', '/admin/x'],
      ['dev', 'TCP', 'ledger-db.shop:5432', ''],
    ],
  },
];

export function access({ dev, ops }: File): Access {
  const who = 'who: [{team: acme/payments}]';
  const text = `trust: {codespaces: {organization: acme}}\ngrants:\n  dev:\n    ${who}\n    to: ${dev}\n  ops:\n    ${who}\n    to: ${ops}\n`;
  return parseAccess(text, 'access.yaml');
}
