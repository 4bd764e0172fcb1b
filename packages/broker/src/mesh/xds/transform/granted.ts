/** The services of a grant in the form that the transformation needs. */
import type { GrantedPort } from '@meshpass/access';
import type { ReachableService } from '@meshpass/identity/wire';
import { parseClusterName } from './resources.ts';

export interface GrantedService
  extends Pick<ReachableService, 'host' | 'port' | 'protocol' | 'aliases'>,
    AllowedOperations {
  /** The loopback address in 127.64.0.0/10 that workspaces use for the service. */
  readonly address: string;
  /**
   * The service's addresses inside the cluster. They are used to find istiod's listeners and must not leave the broker.
   */
  readonly clusterIps: readonly string[];
}

/** The operations that a grant allows on a port of a service. */
export type AllowedOperations = Pick<GrantedPort, 'allow' | 'deny'>;

export type GrantedServices = ReturnType<typeof createGrantedServices>;

/** The services of a grant while its resources are transformed. */
export interface TransformedGrant extends GrantedServices {
  /**
   * Counts a part of a resource that was left out.
   * @param what a short reason
   * @param where the kind of resource, such as `Listener`
   */
  readonly leaveOut: (what: string, where: string) => void;
}

/** Adds lookup functions to the services of a grant. */
export function createGrantedServices(given: {
  readonly grant: string;
  readonly services: readonly GrantedService[];
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly tokenHeader: string;
}) {
  const { services } = given;
  const byTarget = new Map(services.map((service) => [`${service.host}:${service.port}`, service]));
  const names = new Set(services.flatMap(({ host, aliases }) => [host, ...aliases]));
  return {
    ...given,
    /**
     * Returns the service that a cluster belongs to, given the name that istiod uses for the cluster. Returns undefined
     * if the service is not granted.
     */
    serviceOf: (name: string): GrantedService | undefined => {
      const cluster = parseClusterName(name);
      return cluster && byTarget.get(`${cluster.host}:${cluster.port}`);
    },
    /** Returns whether a domain, with or without a port, is the name of a granted host. */
    isName: (domain: string): boolean => {
      const host = domain.replace(/:[1-9][0-9]{0,4}$/, '');
      return names.has(host) || names.has(host.replace(/^\*\./, ''));
    },
  };
}
