/** Puts images into a node: nothing can be pulled, there is no registry. */
import { must } from '../../run.ts';
import { containerdSocket } from '../node/runtime.ts';

/**
 * @param file archive of `docker save` or of the OCI image layout
 * @returns names of the images that came
 * @throws LabError `lab_start` with what containerd said
 */
export async function loadImages(dir: string, file: string): Promise<string[]> {
  const ctr = ['ctr', '--address', containerdSocket(dir), '--namespace', 'k8s.io'];
  const said = await must([...ctr, 'images', 'import', file], 'lab_start');
  return [...said.matchAll(/^unpacking (\S+)/gm)].map(([, name]) => name!);
}
