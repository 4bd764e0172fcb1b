/** The labs of the project `mesh`. Its files run one after the other on each; they wait more than they compute. */

/** How many; each needs a gigabyte of memory. */
export const MESH_LABS = Number(process.env.MESHPASS_LABS ?? 1);

const FIRST = process.env.MESHPASS_LAB || 'test';

/** @param worker from 1 */
export function labOfWorker(worker: number): string {
  return worker === 1 ? FIRST : `${FIRST}${worker}`;
}

/** The cluster that the files of project `cluster` share. */
export const CLUSTER_OF_TESTS = process.env.MESHPASS_CLUSTER || 'test';
