import { defineConfig } from 'vitest/config';
import { CLUSTER_OF_TESTS, MESH_LABS } from './test/labs.ts';

/**
 * `unit` needs nothing but Node, and for the agent an Envoy and for the chart Helm, which the lab's installer makes once; `mesh` runs against a real Istio, which its global set-up starts and takes down;
 * `cluster` against a real Kubernetes with that Istio.
 * Nothing is retried. docs/testing.md has what takes how long, and why.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{packages/*,lab}/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/*.mesh.test.ts', '**/*.cluster.test.ts'],
          // Vitest would leave one processor idle, half of a machine that has two.
          maxWorkers: '100%',
          sequence: { groupOrder: 1 },
          // A condition is waited for; how long it takes is the machine's business.
          ...{ testTimeout: 180_000, hookTimeout: 180_000, expect: { poll: { timeout: 60_000 } } },
        },
      },
      {
        test: {
          name: 'mesh',
          include: ['{packages/*,lab}/test/**/*.mesh.test.ts', 'test/**/*.mesh.test.ts'],
          globalSetup: ['test/lab-setup.ts'],
          setupFiles: ['test/lab-of-worker.ts'],
          maxWorkers: MESH_LABS,
          sequence: { groupOrder: 2 },
          testTimeout: 180_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['{packages/*,lab}/test/**/*.cluster.test.ts', 'test/**/*.cluster.test.ts'],
          globalSetup: ['test/cluster-setup.ts'],
          env: { MESHPASS_CLUSTER: CLUSTER_OF_TESTS },
          // All files share one cluster.
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
