import { loadManifests } from '@meshpass/istio';
import type { PolicyMesh } from '../../src/mesh/reconcile/connect-mesh.ts';

/** Orders in shop, port 8080. */
export const ORDERS = loadManifests(
  '{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}}',
  'cluster.yaml',
).resources;

/** Plays the mesh to which access files apply: nothing is in force, and it accepts everything. */
export function playPolicyMesh(parts: Partial<PolicyMesh> = {}): PolicyMesh {
  const jwks = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
  return {
    shape: {
      trustDomain: 'cluster.local',
      rootNamespace: 'istio-system',
      clusterDomain: 'cluster.local',
      gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
    },
    tokens: () => ({ issuer: 'https://broker.example', audience: 'meshpass', header: 'x-meshpass-token', jwks }),
    read: async () => ORDERS,
    inForce: () => undefined,
    onChange: () => () => {},
    drift: () => undefined,
    rehearse: async () => {},
    take: async () => {},
    resume: () => {},
    onDisk: () => ({ main: 'access.yaml', files: {} }),
    followDisk: async () => {},
    ...parts,
  };
}
