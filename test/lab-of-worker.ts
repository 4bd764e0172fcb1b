/** Before each test file of the project `mesh`: the lab that is its worker's. */
import { labOfWorker } from './labs.ts';

process.env.MESHPASS_LAB = labOfWorker(Number(process.env.VITEST_POOL_ID ?? 1));
