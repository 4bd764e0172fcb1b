/** Before each test file of the project `mesh`: the lab of its worker. */
import { labOfWorker } from './labs.ts';

process.env.MESHPASS_LAB = labOfWorker(Number(process.env.VITEST_POOL_ID ?? 1));
