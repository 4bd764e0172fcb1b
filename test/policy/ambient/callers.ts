/** Every way in which calls reach a Pod in ambient mode. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Call } from '@meshpass/analysis/evaluate';
import type { Lab } from '@meshpass/lab';
import { makeCaller, type Seen } from '../differential/caller.ts';
import { type Identity, identityMaker } from '../differential/identities.ts';
import { makeHboneCaller } from './hbone.ts';

/**
 * `hbone`: a tunnel to the Pod's ztunnel, as any identity. `waypoint`: a tunnel to the waypoint, for the address of a Service. `plain`:
 * plain text to the Pod's own port. `pod` and `sidecar`: an application in an ambient Pod, or beside a sidecar, whose proxy makes the tunnel.
 */
export type Way = 'hbone' | 'waypoint' | 'plain' | 'pod' | 'sidecar';

export interface Callers {
  send(way: Way, call: Call): Promise<Seen>;
  renew(): void;
  close(): void;
}

/** Hosts of the ways `pod` and `sidecar`, and their identities. */
export const CALLERS = {
  pod: { host: 'caller', principal: 'cluster.local/ns/ambient/sa/caller' },
  sidecar: { host: 'client', principal: 'cluster.local/ns/shop/sa/client' },
} as const;

/** @param pod address of the Pod */
export async function openCallers(lab: Lab, principals: readonly string[], pod: string): Promise<Callers> {
  const make = await identityMaker(lab.dir);
  const identities = new Map<string, Identity>();
  for (const principal of new Set(principals)) identities.set(principal, await make(principal));
  const plain = makeCaller(new Map());
  const tunnels = makeHboneCaller(identities);
  const programs = { pod: startProgram(lab, CALLERS.pod.host), sidecar: startProgram(lab, CALLERS.sidecar.host) };
  return {
    send: (way, call) => {
      if (way === 'hbone') return tunnels.call(call, pod);
      if (way === 'waypoint') return tunnels.call(call, lab.hosts.waypoint!.ip);
      if (way === 'plain') return plain.call(call, true);
      return programs[way].send(call);
    },
    renew: () => {
      plain.renew();
      tunnels.renew();
    },
    close: () => {
      plain.renew();
      tunnels.renew();
      for (const { child } of Object.values(programs)) child.kill('SIGKILL');
    },
  };
}

function startProgram(lab: Lab, host: string): { child: ChildProcess; send: (call: Call) => Promise<Seen> } {
  const child = lab.spawn(host, ['node', fileURLToPath(new URL('./from-host.ts', import.meta.url))]);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    child,
    send: async (call) => {
      child.stdin!.write(`${JSON.stringify(call)}\n`);
      return JSON.parse((await lines.next()).value!) as Seen;
    },
  };
}
