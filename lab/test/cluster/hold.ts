/** `node hold.ts NAME`: a program that uses a cluster, says each step and then "held", and never lets go. */
import { upCluster } from '../../src/cluster/index.ts';

await upCluster({ name: process.argv[2]!, progress: (line) => process.stdout.write(`${line}\n`) });
process.stdout.write('held\n');
setInterval(() => {}, 60_000);
