/** Global set-up of the project `mesh`: a lab for each worker, taken down after the last file. */
import { upLab } from '@meshpass/lab';
import { labOfWorker, MESH_LABS } from './labs.ts';

export default async function setup(): Promise<() => Promise<void>> {
  const up = (worker: number) =>
    upLab({ name: labOfWorker(worker), with: ['workspace-2'], progress: (line) => console.log(`lab: ${line}`) });
  const labs = [await up(1)];
  for (let worker = 2; worker <= MESH_LABS; worker++) labs.push(await up(worker));
  return async () => {
    for (const lab of labs) await lab.down();
  };
}
