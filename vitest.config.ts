import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { AMBIENT_LAB, CLUSTER_OF_TESTS, MESH_LABS } from './test/labs.ts';

// Workers, and programs that tests start, compile the same modules again and again: each takes half its start for that.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules/.cache/compile');

/** Tests of the Helm chart, which need Helm. */
const CHART = 'test/chart/**/*.test.ts';

/** Small files that run for minutes, the longest first. */
const LONG = [
  'test/hostile/hostile.mesh.test.ts',
  'test/policy/plan.mesh.test.ts',
  'test/ends/drill.mesh.test.ts',
  'test/rotation/signing-key.mesh.test.ts',
  'test/ends/causes.mesh.test.ts',
  'test/failures/broker-killed.mesh.test.ts',
  'test/fidelity/fidelity.mesh.test.ts',
  'test/ends/gained-grant.mesh.test.ts',
  'test/approvals/approvals.mesh.test.ts',
  'test/chaos/chaos.mesh.test.ts',
  'test/hostile/operators/operators.test.ts',
  'test/chart/restore.cluster.test.ts',
  'test/chart/upgrade.cluster.test.ts',
];

/** Starts these first: without a record of earlier runs Vitest starts the largest files first, and one worker would run them alone at the end. */
class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => LONG.some((name) => moduleId.endsWith(name));
    const rank = ({ moduleId }: TestSpecification) => LONG.findIndex((name) => moduleId.endsWith(name));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong).sort((a, b) => rank(a) - rank(b)), ...sorted.filter((file) => !isLong(file))];
  }
}

/**
 * `unit` needs nothing but Node, an Envoy for the agent and one identity provider in Go, which the lab's installer makes once; `mesh` runs against a real Istio, which its global set-up starts and takes down;
 * `cluster` against a real Kubernetes with that Istio, and Helm; `ambient` against a real ztunnel and waypoint, if `MESHPASS_ZTUNNEL` is the path of one.
 * Nothing is retried. docs/testing.md has what takes how long, and why.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongFilesFirst },
    reporters: ['./test/runner/reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{packages/*,lab}/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/*.{mesh,cluster,ambient}.test.ts', CHART],
          setupFiles: ['test/runner/lab-logs.ts'],
          // Many files wait as long as they compute, and Vitest would leave one processor idle.
          maxWorkers: availableParallelism() * 2,
          // V8 optimizes PGlite's WebAssembly for longer than a test runs: without that, opening a store takes half the processor time.
          execArgv: ['--liftoff-only'],
          sequence: { groupOrder: 1 },
          // A condition is waited for; how long it takes is the machine's business.
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: { poll: { timeout: 60_000 } },
        },
      },
      {
        test: {
          name: 'mesh',
          include: ['{packages/*,lab}/test/**/*.mesh.test.ts', 'test/**/*.mesh.test.ts'],
          globalSetup: ['test/lab-setup.ts'],
          setupFiles: ['test/lab-of-worker.ts', 'test/runner/lab-logs.ts'],
          maxWorkers: MESH_LABS,
          sequence: { groupOrder: 2 },
          testTimeout: 180_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['{packages/*,lab}/test/**/*.cluster.test.ts', 'test/**/*.cluster.test.ts', CHART],
          exclude: ['**/*.{mesh,ambient}.test.ts'],
          setupFiles: ['test/runner/lab-logs.ts'],
          globalSetup: ['test/cluster-setup.ts'],
          env: { MESHPASS_CLUSTER: CLUSTER_OF_TESTS },
          // All files share one cluster: two of them take three times as long each.
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: 'ambient',
          include: ['test/**/*.ambient.test.ts'],
          globalSetup: ['test/ambient-setup.ts'],
          setupFiles: ['test/runner/lab-logs.ts'],
          env: { MESHPASS_LAB: AMBIENT_LAB },
          // Policies of the root namespace concern all Pods of the lab.
          maxWorkers: 1,
          sequence: { groupOrder: 4 },
          testTimeout: 180_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
