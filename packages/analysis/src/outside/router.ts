/**
 * Routing tables of entry points, in one form for every kind of object: a listener has virtual hosts, of which the most
 * specific one decides, and a virtual host has steps, of which the first that matches decides.
 */
import { coversHost, type KubeObject, type Path } from '@meshpass/istio';
import { all, any, type Condition, NEVER, not, text } from '../diff/formula/condition.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { hostCondition, type Listener } from './match-condition.ts';

/** Destination of a step. */
export interface Target {
  readonly destination: Exposure['destination'];
  /** Calls that policies let through, in front of it and at its workloads. */
  readonly condition: Condition;
  /** Path of the destination within the step's object. */
  readonly path: Path;
}

export interface Step {
  readonly on: KubeObject;
  readonly path: Path;
  /** Calls that match, apart from the host and earlier steps. */
  readonly condition: Condition;
  /** Empty if the entry point answers itself. */
  readonly targets: readonly Target[];
  /** How it answers itself: `redirects it`. */
  readonly answer?: string;
}

export interface VirtualHost {
  readonly host: string;
  /** Object that declares the host. */
  readonly on: KubeObject;
  readonly steps: readonly Step[];
}

/** Routing table of one listener. */
export interface Router {
  readonly listener: Listener;
  readonly entry: EntryPoint;
  readonly virtualHosts: readonly VirtualHost[];
}

/** Port in the field `listener` if the entry point is not among the files. */
export const ABSENT_PORT = '?';

/** Formats `https:443`. */
export function formatListener({ protocol, port }: Listener): string {
  return `${protocol}:${port ?? ABSENT_PORT}`;
}

/** Lists the virtual hosts with the calls that each decides, apart from the listener. The most specific one decides. */
export function hostConditions({ virtualHosts }: Router): readonly (readonly [VirtualHost, Condition])[] {
  return virtualHosts.map((one) => {
    const narrower = virtualHosts.filter((other) => other.host !== one.host && coversHost(one.host, other.host));
    return [one, all([hostCondition(one.host), ...narrower.map(({ host }) => not(hostCondition(host)))])];
  });
}

/** Calls at a listener. Internal entry points only accept calls of their private network. */
export function listenerCondition({ listener, entry }: Router): Condition {
  return all([
    text('listener', { form: 'exact', text: formatListener(listener) }),
    ...(entry.internal === undefined ? [] : [{ op: 'flag', field: 'private' } as const]),
  ]);
}

/** Calls that reach a destination through a router. */
export function reaches(router: Router, isMeant: (target: Target) => boolean): Condition {
  const byHost = hostConditions(router).map(([{ steps }, host]) => {
    let earlier = NEVER;
    const found: Condition[] = [];
    for (const { condition, targets } of steps) {
      const meant = targets.filter(isMeant);
      if (meant.length > 0) found.push(all([condition, not(earlier), any(meant.map((target) => target.condition))]));
      earlier = any([earlier, condition]);
    }
    return all([host, any(found)]);
  });
  return all([listenerCondition(router), any(byHost)]);
}
