/** Global set-up of the project `mesh`: one lab for every test file, taken down after the last. */
import { labName, upLab } from '@meshpass/lab';

export default async function setup(): Promise<() => Promise<void>> {
  const lab = await upLab({ name: labName(), with: ['workspace-2'], progress: (line) => console.log(`lab: ${line}`) });
  return () => lab.down();
}
