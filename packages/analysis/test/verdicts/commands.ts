/** Mesh and results of each command, for tests that compare commands. */

import { parseAccess } from '@meshpass/access';
import { compile, type Manifest, meshOf } from '@meshpass/access/compile';
import { DEFAULT_MESH_CONFIG, loadManifests, type Resource, viewMesh } from '@meshpass/istio';
import { compareMeaning } from '../../src/diff/compare.ts';
import { canI } from '../../src/evaluate/can-i.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

/** Workload `orders` in `shop`, with one HTTP port. */
export const ORDERS = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
`;

export function read(text: string): readonly Resource[] {
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
  return resources;
}

/** Whether `dev/web` may GET / on `orders.shop:8080`, by the policies alone. */
export function mayCall(mesh: readonly Resource[], principal = 'cluster.local/ns/dev/sa/web'): boolean {
  const caller = principal === '' ? {} : { principal };
  return canI(viewMesh(mesh, DEFAULT_MESH_CONFIG), caller, 'orders.shop:8080', {
    method: 'GET',
    path: '/',
  }).answers.every(({ decision }) => decision.allowed);
}

/** Describes gains and losses. */
export function differences(before: readonly Resource[], after: readonly Resource[]): readonly string[] {
  return compareMeaning(before, after, DEFAULT_MESH_CONFIG).changes.map(({ kind, who }) => `${who} ${kind}`);
}

/** Returns the ALLOW policies that a grant of `orders.shop:8080` compiles to. */
export function compiledAllows(mesh: readonly Resource[]): readonly Manifest[] {
  const access = parseAccess(
    'trust:\n  codespaces: {organization: acme}\ngrants:\n  a:\n    who: [{user: octocat}]\n    to: [{service: orders.shop, port: 8080}]\n',
    'access.yaml',
  );
  return compile(access, meshOf(mesh, SHAPE), TOKENS).filter(
    ({ kind, spec }) => kind === 'AuthorizationPolicy' && (spec as { readonly action?: string }).action === 'ALLOW',
  );
}
