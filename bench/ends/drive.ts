/** Drives a process of bench/ends/client.ts on a host of the lab; killing it is a crash of every agent in it. */
import type { Lab } from '@meshpass/lab';
import { type OrderedProcess, startOrdered } from '@meshpass/lab/ordered-process';
import type { Order } from './client.ts';

export type Workspaces = OrderedProcess<Order>;

export function startWorkspaces(lab: Lab, host: string): Workspaces {
  return startOrdered(lab, host, new URL('./client.ts', import.meta.url), 'the workspaces');
}
