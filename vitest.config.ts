import { defineConfig } from 'vitest/config';

// Before the set-up and the workers start: all of them work on this lab.
process.env.MESHPASS_LAB ??= 'test';

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
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
