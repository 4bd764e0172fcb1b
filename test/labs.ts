/** Labs of the project `mesh`. The files of a worker run one after the other on its lab; they wait more than they compute. */

/** Number of labs; each needs a gigabyte of memory. */
export const MESH_LABS = Number(process.env.MESHPASS_LABS ?? 1);

const FIRST = process.env.MESHPASS_LAB || 'test';

/** @param worker from 1 */
export const labOfWorker = (worker: number): string => (worker === 1 ? FIRST : `${FIRST}${worker}`);

/** Name of the cluster that the files of the project `cluster` share. */
export const CLUSTER_OF_TESTS = process.env.MESHPASS_CLUSTER || 'test';

/** Name of the lab with ambient mode that the files of the project `ambient` share. */
export const AMBIENT_LAB = `${FIRST}amb`;
