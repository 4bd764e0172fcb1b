/** Assigns internet addresses and names to Services. */
import { LOAD_BALANCER_ADDRESSES } from '../plan.ts';

/** The members of a Service that a load balancer reads. */
export interface ServiceObject {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly type?: string; readonly loadBalancerClass?: string };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string }[] } };
}

const HOSTNAME = 'external-dns.alpha.kubernetes.io/hostname';
/** Names that these Services have without an annotation. */
const KNOWN: Readonly<Record<string, string>> = {
  'meshpass-system/meshpass-broker': 'broker.meshpass.test',
  'meshpass-system/meshpass-edge': 'edge.meshpass.test',
};

/** A Service keeps the address that it has; others get the lowest that is free. @returns `NAMESPACE/NAME` -> address */
export function assignAddresses(services: readonly ServiceObject[]): Map<string, string> {
  const ours = services.filter(({ spec }) => spec.type === 'LoadBalancer' && !spec.loadBalancerClass);
  const assigned = new Map<string, string>();
  const free = new Set(LOAD_BALANCER_ADDRESSES);
  for (const service of ours) {
    const has = service.status?.loadBalancer?.ingress?.[0]?.ip;
    if (has !== undefined && free.delete(has)) assigned.set(keyOf(service), has);
  }
  for (const service of ours) {
    if (assigned.has(keyOf(service))) continue;
    const [next] = free;
    if (next === undefined) break;
    free.delete(next);
    assigned.set(keyOf(service), next);
  }
  return assigned;
}

/**
 * Addresses that the node must add and remove. The function keeps no state: a cloud that was started again takes
 * back the addresses of its predecessor.
 * @param has addresses that the node answers to; those that are not the cloud's are left alone
 * @param wanted addresses that Services have
 */
export function addressChanges(
  has: ReadonlySet<string>,
  wanted: ReadonlySet<string>,
): { readonly add: readonly string[]; readonly remove: readonly string[] } {
  return {
    add: [...wanted].filter((address) => !has.has(address)),
    remove: LOAD_BALANCER_ADDRESSES.filter((address) => has.has(address) && !wanted.has(address)),
  };
}

/** @returns name -> address */
export function namesOf(
  services: readonly ServiceObject[],
  addresses: ReadonlyMap<string, string>,
): Map<string, string> {
  const names = new Map<string, string>();
  for (const service of services) {
    const address = addresses.get(keyOf(service));
    if (address === undefined) continue;
    const annotated = service.metadata.annotations?.[HOSTNAME] ?? KNOWN[keyOf(service)] ?? '';
    for (const name of annotated.split(',').map((one) => one.trim())) if (name !== '') names.set(name, address);
  }
  return names;
}

function keyOf({ metadata }: ServiceObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}
