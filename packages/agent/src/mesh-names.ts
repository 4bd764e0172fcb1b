/** Which service an authority means, and which names belong to the mesh though nothing is granted there. */
import type { ReachableService } from '@meshpass/identity/wire';

export type Destination =
  | { readonly kind: 'service'; readonly service: ReachableService }
  | { readonly kind: 'not-granted' }
  /** Outside the mesh. `looksMeshed`: NAME.NAMESPACE of a namespace in which something is granted. */
  | { readonly kind: 'elsewhere'; readonly looksMeshed: boolean };

export function destinationOf(host: string, port: number, services: readonly ReachableService[]): Destination {
  const name = host.toLowerCase().replace(/\.$/, '');
  let known = /\.svc(?:\.cluster\.local)?$/.test(name);
  let looksMeshed = false;
  const labels = name.split('.');
  for (const service of services) {
    const [, namespace, ...domain] = service.host.split('.');
    if (service.host === name || service.aliases.includes(name)) {
      if (service.port === port) return { kind: 'service', service };
      known = true;
    }
    // The mesh's own domain, whatever the cluster calls it.
    if (domain[0] === 'svc' && name.endsWith(`.${domain.join('.')}`)) known = true;
    if (labels.length === 2 && labels[1] === namespace) looksMeshed = true;
  }
  return known ? { kind: 'not-granted' } : { kind: 'elsewhere', looksMeshed };
}
