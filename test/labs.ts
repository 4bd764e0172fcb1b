/** Labs of the project `mesh`. The files of a worker run one after the other on its lab; they wait more than they compute. */

import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

/** Number of labs; each needs a gigabyte of memory. */
export const MESH_LABS = Number(process.env.MESHPASS_LABS ?? 1);

/** A name that no other checkout on this machine has, so that their tests do not share a lab. */
const OF_CHECKOUT = `t${createHash('sha256')
  .update(fileURLToPath(new URL('..', import.meta.url)))
  .digest('hex')
  .slice(0, 6)}`;

const FIRST = process.env.MESHPASS_LAB || OF_CHECKOUT;

/** @param worker from 1 */
export const labOfWorker = (worker: number): string => (worker === 1 ? FIRST : `${FIRST}${worker}`);

/** Name of the cluster that the files of the project `cluster` share. */
export const CLUSTER_OF_TESTS = process.env.MESHPASS_CLUSTER || OF_CHECKOUT;

/** Name of the lab with ambient mode that the files of the project `ambient` share. */
export const AMBIENT_LAB = `${FIRST}amb`;
