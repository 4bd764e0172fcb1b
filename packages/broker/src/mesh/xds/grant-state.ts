/** The state that the relay keeps for a grant: its stream to istiod and its last valid configuration. */
import { grantNamespace } from '@meshpass/identity';
import type { MeshState } from '../reconcile/connect-mesh.ts';
import { followGrant, type RelaySource } from './follow-grant.ts';
import { type GrantConfiguration, grantConfiguration } from './transform/grant-configuration.ts';
import { createGrantedServices, type GrantedService, type GrantedServices } from './transform/granted.ts';
import type { RawResources } from './transform/resources.ts';

export type GrantState = ReturnType<typeof openGrantStream>;

export interface GrantOptions {
  readonly grant: string;
  readonly mesh: Pick<MeshState, 'services' | 'ports'>;
  readonly source: RelaySource;
  readonly onChange: () => void;
  readonly onFailure: (cause: unknown) => void;
}

/**
 * How long to wait after a message before transforming the resources, in milliseconds. istiod sends a single change in
 * more than one message.
 */
const SETTLE_MS = 50;

/** Opens a stream to istiod for a grant and keeps its configuration up to date. */
export function openGrantStream(options: GrantOptions) {
  const { grant, source } = options;
  let granted = grantedNow(options);
  let raw: RawResources | undefined;
  let configuration: GrantConfiguration | undefined;
  let settling: NodeJS.Timeout | undefined;

  const transform = () => {
    settling = undefined;
    if (!raw) return;
    try {
      configuration = grantConfiguration(raw, granted);
    } catch (thrown) {
      options.onFailure(thrown);
      return;
    }
    options.onChange();
  };
  const soon = () => {
    settling ??= setTimeout(transform, SETTLE_MS);
  };
  const following = followGrant({
    namespace: grantNamespace(grant),
    source,
    onFailure: options.onFailure,
    wants: (cluster) => granted.serviceOf(cluster) !== undefined,
    onResources: (resources) => {
      raw = resources;
      soon();
    },
  });

  return {
    /**
     * Returns the last valid configuration, even while istiod is unavailable. Returns undefined until istiod has
     * responded.
     */
    configuration: () => configuration,
    /** Recomputes which services are granted. Call this when the mesh has changed. */
    meshChanged: () => {
      const before = new Set(granted.services.map(place));
      granted = grantedNow(options);
      if (granted.services.some((service) => !before.has(place(service)))) following.restart();
      soon();
    },
    stop: () => {
      clearTimeout(settling);
      following.stop();
    },
  };
}

function grantedNow({ grant, mesh, source }: GrantOptions): GrantedServices {
  const own = mesh.ports().filter((one) => one.grant === grant);
  const ports = new Map(own.map((port) => [place(port), port]));
  const services = mesh.services([grant]).flatMap((service): GrantedService[] => {
    const { host, port, protocol, aliases, address } = service;
    if (address === undefined) return [];
    const { clusterIps, allow, deny } = ports.get(place(service)) ?? { clusterIps: [], allow: [] };
    return [{ host, port, protocol, aliases, address, clusterIps, allow, deny }];
  });
  const { trustDomain, clusterDomain, tokenHeader } = source;
  return createGrantedServices({ grant, services, trustDomain, clusterDomain, tokenHeader });
}

function place({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host}:${port}`;
}
