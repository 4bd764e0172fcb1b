/** Makes calls from its own host, in plain text, which a sidecar or ztunnel then tunnels: a JSON call a line on standard input. */
import { createInterface } from 'node:readline';
import type { Call } from '@meshpass/analysis/evaluate';
import { makeCaller } from '../differential/caller.ts';

const caller = makeCaller(new Map());
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await caller.call(JSON.parse(line) as Call, true)));
  caller.renew();
}
