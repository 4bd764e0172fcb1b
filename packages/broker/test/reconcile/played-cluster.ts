/** A simulated cluster for the state of the mesh, which produces orders of events that a real one seldom does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Manifest } from '@meshpass/access';
import type { MeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import { afterEach, beforeEach } from 'vitest';
import type { ClusterView } from '../../src/mesh/reconcile/cluster-view.ts';
import type { LiveMeshState, StateOptions } from '../../src/mesh/reconcile/mesh-state.ts';
import { createMeshState } from '../../src/mesh/reconcile/mesh-state.ts';

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
  name: 'orders',
  namespace: 'shop',
  selector: { app: 'orders' },
  workloads: [],
  ports: [{ port: 80, targetPort: 80, name: 'http', protocol: 'http' }],
};

/** Starts a simulated cluster, with its access file in a directory of each test, `dir`. All parts stop with the test. */
export function playCluster() {
  const listeners = new Set<() => void>();
  const warnings: string[] = [];
  const cluster = {
    ours: ['meshpass-guard-dev@1'],
    followed: [] as readonly string[],
    services: [orders],
    namespaces: [{ name: 'shop', labels: { team: 'payments' } as Record<string, string> }],
    /** Promise that each apply waits for. */
    gate: Promise.resolve() as Promise<unknown>,
    applying: 0,
    /** @returns function that lets later applies continue */
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      cluster.gate = promise;
      return resolve;
    },
    /** Answer of Kubernetes to every write. */
    refusal: undefined as MeshpassError | undefined,
    /** Answer of Kubernetes to some writes. */
    refuses: (_: unknown): MeshpassError | undefined => undefined,
    /** Desired objects, by kind and name. */
    written: new Map<string, Manifest>(),
    /** Objects that it reports. */
    listed: [] as readonly Manifest[],
    changed: () => {
      for (const listener of listeners) listener();
    },
  };
  const current = () => ({ services: cluster.services, namespaces: cluster.namespaces, foreignPolicies: [] });
  const view: ClusterView = {
    current,
    outline: current,
    ours: () => cluster.ours,
    roots: () => ['root'],
    unready: () => [],
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
    apply: async (manifest: Manifest) => {
      cluster.applying++;
      const { gate } = cluster;
      const refusal = cluster.refusal ?? cluster.refuses(manifest);
      await gate;
      if (refusal) throw refusal;
      cluster.written.set(`${manifest.kind} ${manifest.metadata.namespace}/${manifest.metadata.name}`, manifest);
    },
    remove: async () => {},
    list: async (kind: string) => cluster.listed.filter((one) => one.kind === kind),
  };
  const path = join(dir, 'access.yaml');
  const start = (more: Pick<StateOptions, 'activated' | 'gitops'> = {}) => {
    state = createMeshState({
      ...more,
      view,
      kubernetes: kubernetes as never,
      accessFile: path,
      now: () => 0,
      resync: 60_000,
      mesh: {
        trustDomain: 'cluster.local',
        rootNamespace: 'istio-system',
        clusterDomain: 'cluster.local',
        gateway: { namespace: 'meshpass-system', labels: {}, port: 15443 },
      },
      tokens: () => ({
        issuer: 'https://b.example',
        audience: 'meshpass',
        header: 'x-meshpass-token',
        jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
      }),
      log: { info: () => {}, warn: (_, message) => warnings.push(message ?? ''), error: () => {} },
    });
    return state;
  };
  return { cluster, dir, path, start, warnings };
}
