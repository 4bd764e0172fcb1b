/** Small mesh for the evaluator's tests: one workload, and policies from each test. */

import { DEFAULT_MESH_CONFIG, loadManifests, type MeshConfig, viewMesh } from '@meshpass/istio';
import { type Authorizer, createAuthorizer } from '../../src/evaluate/authorizer.ts';
import type { Call, Decision } from '../../src/evaluate/call.ts';

export const ORDERS = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec:
  template:
    metadata: {labels: {app: orders}}
    spec:
      serviceAccountName: orders
      containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec:
  selector: {app: orders}
  ports:
    - {name: http, port: 80, targetPort: web}
    - {name: tcp-db, port: 5432}
    - {name: any, port: 7002}
`;

export const CLIENT = 'cluster.local/ns/shop/sa/client';

export function view(text: string, config: Partial<MeshConfig> = {}) {
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  if (problems.length > 0) throw new Error(JSON.stringify(problems));
  return viewMesh(resources, { ...DEFAULT_MESH_CONFIG, ...config });
}

/** Creates the authorizer of orders under these policies. */
export function guard(policies: string, config: Partial<MeshConfig> = {}): Authorizer {
  const mesh = view(`${ORDERS}---\n${policies}`, config);
  return createAuthorizer(mesh, mesh.workloads.find(({ name }) => name === 'orders')!);
}

/** Returns an AuthorizationPolicy in the namespace of orders, for all of its workloads. */
export function policy(spec: object, { name = 'p', namespace = 'shop', annotations = {} } = {}): string {
  const metadata = { name, namespace, annotations };
  return `${JSON.stringify({ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata, spec })}\n---\n`;
}

export function tokens(...jwtRules: readonly object[]): string {
  const metadata = { name: 'tokens', namespace: 'shop' };
  return `${JSON.stringify({ apiVersion: 'security.istio.io/v1', kind: 'RequestAuthentication', metadata, spec: { jwtRules } })}\n---\n`;
}

/** Returns a request of the client in the same namespace. */
export function get(path: string, more: Partial<Call> & { readonly headers?: Record<string, string> } = {}): Call {
  const { headers, ...call } = more;
  return {
    principal: CLIENT,
    port: 8080,
    http: { method: 'GET', path, authority: 'orders.shop', ...(headers && { headers }) },
    ...call,
  };
}

/** Formats `allowed by p[0]`, `refused 403 by p`, `allowed: open`. */
export function say({ allowed, status, rule, reason }: Decision): string {
  const by = rule ? ` by ${rule.name}${rule.rule === undefined ? '' : `[${rule.rule}]`}` : `: ${reason}`;
  return `${allowed ? 'allowed' : 'refused'}${status === undefined ? '' : ` ${status}`}${by}`;
}
