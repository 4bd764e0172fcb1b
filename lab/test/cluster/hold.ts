/** `node hold.ts NAME`: a program that uses a cluster, prints each step and then "held", and never releases it. */
import { upCluster } from '../../src/cluster/index.ts';

await upCluster({ name: process.argv[2]!, progress: (line) => process.stdout.write(`${line}\n`) });
process.stdout.write('held\n');
setInterval(() => {}, 60_000);
