/** Creates the attempts of a drill, which use each credential of a session at each layer that accepts it. */
import { obtainSvids } from '@meshpass/agent/session/enrol';
import type { DrillReport } from '@meshpass/identity/drill-report';
import type { Attempt } from './attempt.ts';
import { call, type Presented, probeEdge } from './call.ts';
import { renewViaEdge } from './renew-by-edge.ts';
import { brokerVerdict, type DrillSession, renewalVerdict } from './session.ts';
import { shortName, type Target } from './targets.ts';

/** The addresses that the drill uses if it runs inside the cluster's network. */
export interface InClusterAddresses {
  readonly gateway?: { readonly host: string; readonly port: number } | undefined;
  /** The address of a Pod behind each granted service, keyed by the service's `HOST:PORT`. */
  readonly pods: ReadonlyMap<string, { readonly host: string; readonly port: number }>;
}

const SVID_AND_TOKEN: Presented = { svid: true, identityToken: true };
const SVID_ALONE: Presented = { svid: true, identityToken: false };
const TOKEN_ALONE: Presented = { svid: false, identityToken: true };

/**
 * Creates attempts that use the session token and its DPoP key at the broker.
 * @param limit how soon after the end of the session the attempts must fail, in milliseconds
 */
export function brokerReplayAttempts(held: DrillSession, limit: number): Attempt[] {
  const { client, accessToken, session, identityToken } = held;
  const taken = { before: 'taken', limit } as const;
  return [
    {
      layer: 'token endpoint',
      tried: 'session token, for an identity token',
      ...taken,
      use: () => brokerVerdict(client.token(accessToken)),
    },
    {
      layer: 'session renewal',
      tried: 'DPoP key, to renew the lease',
      ...taken,
      use: () => renewalVerdict(held),
    },
    ...session.grants.map((grant): Attempt => {
      return {
        layer: 'certificate renewal',
        tried: `session token and DPoP key, for a certificate of ${grant}`,
        ...taken,
        use: () => brokerVerdict(obtainSvids(client, accessToken, [grant], Date.now)),
      };
    }),
    {
      layer: 'configuration',
      tried: 'session token and DPoP key, for the configuration of an Envoy',
      ...taken,
      use: () => brokerVerdict(client.configuration(accessToken)),
    },
    {
      layer: 'token endpoint',
      tried: 'identity token alone, instead of the session token',
      before: 'refused',
      limit,
      use: () => brokerVerdict(client.token(identityToken.value)),
    },
  ];
}

/**
 * Creates attempts that open a tunnel to each target through the edge.
 * @param limit how soon after the end of the session the attempts must fail, in milliseconds
 */
export function edgeReplayAttempts(session: DrillSession, targets: readonly Target[], limit: number): Attempt[] {
  return targets.flatMap((target): Attempt[] => {
    const about = { layer: 'edge', limit } as const;
    return [
      {
        ...about,
        tried: `SVID, a new tunnel to ${shortName(target)}`,
        before: 'taken',
        use: () => probeEdge(session, target, true),
      },
      {
        ...about,
        tried: `identity token alone, a new tunnel to ${shortName(target)}`,
        before: 'refused',
        use: () => probeEdge(session, target, false),
      },
    ];
  });
}

/** Creates an attempt that renews the lease through an edge. */
export function controlChannelAttempt(session: DrillSession, limit: number): Attempt[] {
  return [
    {
      layer: 'control channel',
      tried: 'SVID and DPoP key, to renew the lease by the edge',
      before: 'taken',
      limit,
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
  { gateway, pods }: InClusterAddresses,
  limit: number,
): Attempt[] {
  return targets.flatMap((target) => {
    const pod = findPod(target, pods);
    return [
      ...(gateway ? attempts('mesh gateway', target, gateway) : []),
      ...(pod ? attempts('sidecar', target, pod) : []),
    ];
  });

  function attempts(layer: 'mesh gateway' | 'sidecar', target: Target, straightTo: { host: string; port: number }) {
    const at = (tried: string, before: 'taken' | 'refused', presented: Presented): Attempt => {
      return {
        layer,
        tried: `${tried}, ${shortName(target)}`,
        before,
        limit,
        use: () => call(session, target, { straightTo }, presented),
      };
    };
    if (target.path === undefined) return [at('SVID, TCP', 'taken', SVID_ALONE)];
    return [
      at('SVID and identity token', 'taken', SVID_AND_TOKEN),
      at('SVID alone', 'refused', SVID_ALONE),
      at('identity token alone', 'refused', TOKEN_ALONE),
    ];
  }
}

/** Returns `not_tried` rows for the attempts that need an address inside the cluster if that address is not given. */
export function untriedRows(targets: readonly Target[], { gateway, pods }: InClusterAddresses): DrillReport['rows'] {
  const rows: DrillReport['rows'] = [];
  if (!gateway)
    rows.push({
      part: 'replays',
      layer: 'mesh gateway',
      tried: 'SVID and identity token, past the edge',
      outcome: 'not_tried',
      how: 'requires running inside the cluster with --inside-gateway',
    });
  for (const name of targets.filter((target) => !findPod(target, pods)).map(shortName))
    rows.push({
      part: 'replays',
      layer: 'sidecar',
      tried: `SVID and identity token, straight to a pod of ${name}`,
      outcome: 'not_tried',
      how: `requires running inside the cluster with --inside-pod ${name}=ADDRESS`,
    });
  return rows;
}

/** Finds the Pod of a target by any of the service's names, including short ones. */
export function findPod({ service }: Target, pods: InClusterAddresses['pods']) {
  return [service.host, ...service.aliases].map((name) => pods.get(`${name}:${service.port}`)).find(Boolean);
}
