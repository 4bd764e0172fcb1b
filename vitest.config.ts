import { defineConfig } from 'vitest/config';

// Before the set-up and the workers start: all of them work on this lab.
process.env.MESHPASS_LAB ??= 'test';

// Real processes are killed, frozen and pushed to here, and CI's machines stall: there what fails is tried once more, and the
// report says so. On a developer's machine nothing is hidden.
const retry = process.env.CI ? 1 : 0;

/** `unit` needs nothing but Node; `mesh` runs against a real Istio, which its global set-up starts and takes down. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{packages/*,lab}/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/*.mesh.test.ts'],
          testTimeout: 20_000,
          retry,
          // A condition is waited for; how long it takes is the machine's business.
          expect: { poll: { timeout: 15_000 } },
        },
      },
      {
        test: {
          name: 'mesh',
          include: ['{packages/*,lab}/test/**/*.mesh.test.ts', 'test/**/*.mesh.test.ts'],
          globalSetup: ['test/lab-setup.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          retry,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
