/** What one grant gives, as the transformation asks for it. */
import type { ReachableService } from '@meshpass/identity';
import { clusterOf } from './resources.ts';

export interface GrantedService {
  /** Full name. */
  readonly host: string;
  readonly port: number;
  readonly protocol: ReachableService['protocol'];
  /** In workspaces, in 127.64.0.0/10. */
  readonly address: string;
  /** Shorter names that mean the same. */
  readonly aliases: readonly string[];
  /** In the cluster: by these istiod's listeners are told apart. They never leave the broker. */
  readonly clusterIps: readonly string[];
}

export interface Granted {
  readonly grant: string;
  readonly services: readonly GrantedService[];
  readonly trustDomain: string;
  readonly clusterDomain: string;
  /** Of a cluster by istiod's name: what it leads to; undefined where that is not granted. */
  readonly serviceOf: (cluster: string) => GrantedService | undefined;
  /** The names of a granted host, at any of its ports. */
  readonly isName: (domain: string) => boolean;
}

export function grantedBy(given: Pick<Granted, 'grant' | 'services' | 'trustDomain' | 'clusterDomain'>): Granted {
  const { services } = given;
  const byTarget = new Map(services.map((service) => [`${service.host}:${service.port}`, service]));
  const names = new Set(services.flatMap(({ host, aliases }) => [host, ...aliases]));
  return {
    ...given,
    serviceOf: (name) => {
      const cluster = clusterOf(name);
      return cluster && byTarget.get(`${cluster.host}:${cluster.port}`);
    },
    isName: (domain) => {
      const host = domain.replace(/:[1-9][0-9]{0,4}$/, '');
      return names.has(host) || names.has(host.replace(/^\*\./, ''));
    },
  };
}
