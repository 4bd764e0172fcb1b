/** Global set-up of the project `cluster`: one cluster for all its files, to which they attach by `upCluster()`. */
import { upCluster } from '@meshpass/lab/cluster';
import { CLUSTER_OF_TESTS } from './labs.ts';

export default async function setup(): Promise<() => Promise<void>> {
  const progress = (line: string): void => console.log(`cluster: ${line}`);
  const cluster = await upCluster({ name: CLUSTER_OF_TESTS, progress });
  return () => cluster.down();
}
