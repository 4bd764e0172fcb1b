/** How the resources of a workspace are named: those of each grant apart. */
import { messageOf } from '@meshpass/envoy';
import type { Metadata } from './shapes.ts';

/** @param name istiod's. @example ownName('dev', 'outbound|80||web.shop.svc.cluster.local') // => 'dev/outbound|80||web...' */
export function ownName(grant: string, name: string): string {
  return `${grant}/${name}`;
}

/** The listener, and what belongs to it, of one port of a service. */
export function listenerName(grant: string, { address, port }: { readonly address: string; readonly port: number }) {
  return ownName(grant, `${address}_${port}`);
}

/** The agent's own listener that leads to the edge with the grant's certificate. */
export function tunnelName(grant: string): string {
  return `tunnel/${grant}`;
}

/**
 * Of istiod's metadata what says which object of Istio's a resource comes from. What an EnvoyFilter put beside it stays in the
 * cluster.
 */
export function istioMetadata(metadata: Metadata | undefined): Metadata | undefined {
  const { config } = (metadata?.filterMetadata.istio ?? {}) as { readonly config?: unknown };
  if (typeof config !== 'string') return undefined;
  return messageOf('envoy.config.core.v3.Metadata', { filter_metadata: { istio: { config } } }) as Metadata;
}
