/** Access files that are planned against the meshes, each with calls that it grants and calls that it does not. */
import { type Access, parseAccess } from '@meshpass/access';

/** Claim `level` of the tokens that workspaces send. */
export const LEVELS: Readonly<Record<'senior' | 'junior', readonly string[]>> = {
  senior: ['senior', 'principal'],
  junior: ['junior'],
};

/** Call of a workspace, with a senior's token by default. Target `orders.shop:8080#v1` is the subset v1. */
export type Call = readonly [
  grant: 'dev' | 'ops',
  method: string,
  target: string,
  path: string,
  token?: keyof typeof LEVELS,
];

export interface File {
  readonly name: string;
  readonly dev: string;
  readonly ops: string;
  readonly granted: readonly Call[];
  readonly refused: readonly Call[];
}

export const OPERATIONS: File = {
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
};

export const WHOLE: File = {
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
};

export const CLAIMS: File = {
  name: 'operations that are still refused, and required claims',
  dev: '[{service: orders.shop, port: 8080, allow: ["* /orders/*"], deny: ["DELETE /orders/*"], require: {level: [senior]}}]',
  ops: '[{service: orders.shop, port: 8080, allow: ["GET /orders/*"], require: {level: [principal]}}, {service: web.dev, port: 80}]',
  granted: [
    ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
    ['ops', 'GET', 'orders.shop:8080', '/orders/1'],
    ['ops', 'GET', 'web.dev:80', '/'],
  ],
  refused: [
    ['dev', 'DELETE', 'orders.shop:8080', '/orders/1'],
    ['dev', 'GET', 'orders.shop:8080', '/orders/1', 'junior'],
    ['ops', 'GET', 'orders.shop:8080', '/orders/1', 'junior'],
    ['dev', 'GET', 'web.dev:80', '/'],
  ],
};

export const BOTH_PORTS: File = {
  name: 'both ports of one service, and a database',
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
};

export const FILES: readonly File[] = [OPERATIONS, WHOLE, CLAIMS, BOTH_PORTS];

/** Applied between meshes: keeps the grants, and grants none of the calls. */
export const BASE: File = {
  name: 'nothing of it',
  dev: '[{service: web.dev, port: 80, allow: [GET /base]}]',
  ops: '[{service: web.dev, port: 80, allow: [GET /base]}]',
  granted: [],
  refused: [],
};

export function access({ dev, ops }: File): Access {
  const who = 'who: [{team: acme/payments}]';
  const text = `trust: {codespaces: {organization: acme}}\ngrants:\n  dev:\n    ${who}\n    to: ${dev}\n  ops:\n    ${who}\n    to: ${ops}\n`;
  return parseAccess(text, 'access.yaml');
}
