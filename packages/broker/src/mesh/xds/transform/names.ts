/** Builds the names of resources in a workspace. The resources of each grant have their own names. */
import { messageFromJson } from '@meshpass/envoy';
import type { Metadata } from './shapes.ts';

/**
 * Prefixes a resource name with the name of the grant.
 * @param name the name that istiod uses
 * @example ownName('dev', 'outbound|80||web.shop.svc.cluster.local') // => 'dev/outbound|80||web...'
 */
export function ownName(grant: string, name: string): string {
  return `${grant}/${name}`;
}

/** Returns the name of the listener for a service's port. The parts of the listener are also given this name. */
export function listenerName(grant: string, { address, port }: { readonly address: string; readonly port: number }) {
  return ownName(grant, `${address}_${port}`);
}

/** Returns the name of the listener in the agent that connects to the edge with the grant's certificate. */
export function tunnelName(grant: string): string {
  return `tunnel/${grant}`;
}

/**
 * Removes all metadata except for the part that identifies the Istio object that a resource was created from. Metadata
 * added by an EnvoyFilter must not leave the cluster.
 */
export function istioMetadata(metadata: Metadata | undefined): Metadata | undefined {
  const { config } = (metadata?.filterMetadata.istio ?? {}) as { readonly config?: unknown };
  if (typeof config !== 'string') return undefined;
  return messageFromJson('envoy.config.core.v3.Metadata', { filter_metadata: { istio: { config } } }) as Metadata;
}
