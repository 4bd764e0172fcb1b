/** A cluster that is played for the state of the mesh, so that orders of events can be made that a real one seldom gives. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import { afterEach, beforeEach } from 'vitest';
import type { ClusterView } from '../../src/reconcile/cluster-view.ts';
import type { LiveMeshState } from '../../src/reconcile/contract.ts';
import { meshState } from '../../src/reconcile/mesh-state.ts';
import type { StateOptions } from '../../src/reconcile/state-options.ts';

let dir: string;
let state: LiveMeshState | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'meshpass-state-'));
});
afterEach(() => {
  state?.close();
  rmSync(dir, { recursive: true });
});

export const orders: Mesh['services'][number] = {
  ...{ name: 'orders', namespace: 'shop', selector: { app: 'orders' }, workloads: [] },
  ports: [{ port: 80, targetPort: 80, name: 'http', protocol: 'http' }],
};

/** Its access file is in a directory of each test, `dir`; what it starts ends with the test. */
export function playCluster() {
  const listeners = new Set<() => void>();
  const warnings: string[] = [];
  const cluster = {
    ours: ['meshpass-guard-dev@1'],
    followed: [] as readonly string[],
    services: [orders],
    namespaces: [{ name: 'shop', labels: { team: 'payments' } as Record<string, string> }],
    /** Applying waits for it. */
    gate: Promise.resolve() as Promise<unknown>,
    applying: 0,
    /** @returns lets what is applied from now on go on */
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      cluster.gate = promise;
      return resolve;
    },
    /** What Kubernetes answers to every write. */
    refusal: undefined as MeshpassError | undefined,
    changed: () => {
      for (const listener of listeners) listener();
    },
  };
  const current = () => ({ services: cluster.services, namespaces: cluster.namespaces, foreignPolicies: [] });
  const view: ClusterView = {
    ...{ current, outline: current, ours: () => cluster.ours, roots: () => ['root'], unready: () => [] },
    follow: (namespaces) => {
      cluster.followed = namespaces;
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {},
  };
  const kubernetes = {
    apply: async () => {
      cluster.applying++;
      const { gate, refusal } = cluster;
      await gate;
      if (refusal) throw refusal;
    },
    remove: async () => {},
    list: async () => [],
  };
  const path = join(dir, 'access.yaml');
  const start = (more: Pick<StateOptions, 'activated'> = {}) => {
    state = meshState({
      ...more,
      ...{ view, kubernetes: kubernetes as never, accessFile: path, now: () => 0, random: () => 0, resync: 60_000 },
      mesh: {
        ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
        gateway: { namespace: 'meshpass-system', labels: {}, port: 15443 },
      },
      tokens: () => ({
        ...{ issuer: 'https://b.example', audience: 'meshpass', header: 'x-meshpass-token' },
        jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
      }),
      log: { info: () => {}, warn: (_, message) => warnings.push(message ?? ''), error: () => {} },
    });
    return state;
  };
  return { cluster, dir, path, start, warnings };
}
