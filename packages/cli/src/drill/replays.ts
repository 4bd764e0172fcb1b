/** Creates the attempts of a drill, which use each credential of a session at each layer that accepts it. */
import { obtainSvids } from '@meshpass/agent/session/enrol';
import type { HostPort } from '../command/flag.ts';
import type { Attempt } from './attempt.ts';
import { call, type Presented, probeEdge } from './call.ts';
import { brokerVerdict, type DrillSession, renewalVerdict, renewViaEdge } from './session.ts';
import { shortName, type Target } from './targets.ts';

/** The addresses that the drill uses if it runs inside the cluster's network. */
export interface InClusterAddresses {
  readonly gateway?: HostPort | undefined;
  /** The address of a Pod behind each granted service, keyed by the service's `HOST:PORT`. */
  readonly pods: ReadonlyMap<string, HostPort>;
}

/** Creates attempts that use the session token and its DPoP key at the broker. */
export function brokerReplayAttempts(held: DrillSession): Attempt[] {
  const { client, accessToken, session, identityToken } = held;
  return [
    {
      layer: 'token endpoint',
      tried: 'session token, for an identity token',
      use: () => brokerVerdict(client.token(accessToken)),
    },
    { layer: 'session renewal', tried: 'DPoP key, to renew the lease', use: () => renewalVerdict(held) },
    ...session.grants.map((grant): Attempt => {
      return {
        layer: 'certificate renewal',
        tried: `session token and DPoP key, for a certificate of ${grant}`,
        use: () => brokerVerdict(obtainSvids(client, accessToken, [grant], Date.now)),
      };
    }),
    {
      layer: 'configuration',
      tried: 'session token and DPoP key, for the configuration of an Envoy',
      use: () => brokerVerdict(client.configuration(accessToken)),
    },
    {
      layer: 'token endpoint',
      tried: 'identity token alone, instead of the session token',
      before: 'refused',
      use: () => brokerVerdict(client.token(identityToken.value)),
    },
  ];
}

/** Creates attempts that open a tunnel to each target through the edge, and one that renews the lease there. */
export function edgeReplayAttempts(session: DrillSession, targets: readonly Target[]): Attempt[] {
  const layer = 'edge';
  return [
    ...targets.flatMap((target): Attempt[] => [
      { layer, tried: `SVID, a new tunnel to ${shortName(target)}`, use: () => probeEdge(session, target, true) },
      {
        layer,
        tried: `identity token alone, a new tunnel to ${shortName(target)}`,
        before: 'refused',
        use: () => probeEdge(session, target, false),
      },
    ]),
    {
      layer: 'control channel',
      tried: 'SVID and DPoP key, to renew the lease by the edge',
      use: () => renewViaEdge(session),
    },
  ];
}

/**
 * Creates attempts that bypass the edge from inside the cluster. They connect through the mesh gateway and directly to
 * Pods.
 */
export function inClusterAttempts(
  session: DrillSession,
  targets: readonly Target[],
  inside: InClusterAddresses,
): Attempt[] {
  const alone = { svid: true, identityToken: false };
  return targets.flatMap((target) =>
    waysInside(target, inside).flatMap(({ layer, straightTo }): Attempt[] => {
      const at = (tried: string, presented: Presented): Attempt => ({
        layer,
        tried: `${tried}, ${shortName(target)}`,
        use: () => call(session, target, { straightTo }, presented),
      });
      if (target.path === undefined) return [at('SVID, TCP', alone)];
      return [
        at('SVID and identity token', { svid: true, identityToken: true }),
        { ...at('SVID alone', alone), before: 'refused' },
        { ...at('identity token alone', { svid: false, identityToken: true }), before: 'refused' },
      ];
    }),
  );
}

/** Lists the ways to a target that bypass the edge: through the mesh gateway, and directly to its Pod. */
export function waysInside(target: Target, { gateway, pods }: InClusterAddresses) {
  const pod = findPod(target, pods);
  return [
    ...(gateway ? [{ layer: 'mesh gateway', straightTo: gateway } as const] : []),
    ...(pod ? [{ layer: 'sidecar', straightTo: pod } as const] : []),
  ];
}

/** Finds the Pod of a target by any of the service's names, including short ones. */
export function findPod({ service }: Target, pods: InClusterAddresses['pods']) {
  return [service.host, ...service.aliases].map((name) => pods.get(`${name}:${service.port}`)).find(Boolean);
}
