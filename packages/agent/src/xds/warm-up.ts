/**
 * Opens tunnels before the first call. A request to this listener makes Envoy open a connection to the requested
 * cluster: outer TLS, CONNECT, inner TLS and the start of the protocol. A filter behind the connection pool then
 * refuses the request, so that none of it is sent. The connection stays in the pool for the first call.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '@bufbuild/protobuf';
import type { ReachableService } from '@meshpass/identity/wire';
import { httpChain, httpFilter } from '../envoy/json.ts';
import { Agent, request, sendAndRead } from '../http.ts';
import { REFUSING_FILTER_CONFIG, REFUSING_FILTERS } from './upstream-filters.ts';

/** The request header that specifies which cluster to connect to. */
const CLUSTER_HEADER = 'x-meshpass-cluster';
const WARM_UP = 'agent/warm-up';
/**
 * The maximum number of services whose tunnels are opened early. Every tunnel uses memory at the edge, the gateway and
 * the workload, and an edge supports only 32,768 connections for all workspaces.
 */
const MOST_SERVICES = 2;
/** How long to wait for the warm-up listener, in milliseconds. */
const PATIENCE = 3_000;
const POLL = 50;
const TIMEOUT = 2_000;
const LARGEST = 65_536;

/**
 * Makes Envoy connect to clusters. Returns once Envoy has started to connect. Failures are not reported here, because
 * the first call will fail and report the reason.
 * @param socketPath the Unix socket of the warm-up listener
 */
export async function openTunnels(socketPath: string, clusters: readonly string[]): Promise<void> {
  const [first, ...others] = clusters;
  if (first === undefined) return;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (cluster: string) => {
    const headers = { host: 'meshpass', [CLUSTER_HEADER]: cluster };
    const outgoing = request({ socketPath, agent, headers, signal: AbortSignal.timeout(TIMEOUT) });
    return sendAndRead(outgoing, LARGEST).then(
      () => true,
      () => false,
    );
  };
  try {
    for (const end = performance.now() + PATIENCE; !(await ask(first)); await sleep(POLL)) {
      if (performance.now() > end) return;
    }
    for (const cluster of others) await ask(cluster);
  } finally {
    agent.destroy();
  }
}

/**
 * Returns the clusters of the first HTTP services, whose connections can carry any request. Raw TCP services are
 * excluded, because connecting to one is enough to make the workspace its client.
 * @param clusters the names of the clusters that Envoy has
 */
export function clustersToWarm(
  services: readonly ReachableService[],
  clusters: ReadonlySet<string>,
): readonly string[] {
  return services
    .filter(({ protocol }) => protocol !== 'tcp')
    .map(({ grant, host, port }) => `${grant}/outbound|${port}||${host}`)
    .filter((name) => clusters.has(name))
    .slice(0, MOST_SERVICES);
}

/**
 * Builds the listener through which the agent makes Envoy open tunnels.
 * @param path the path of a Unix socket that only its owner can open
 * @returns an `envoy.config.listener.v3.Listener` in JSON
 */
export function warmUpListener(path: string): JsonObject {
  return {
    name: WARM_UP,
    address: { pipe: { path, mode: 0o600 } },
    filter_chains: httpChain({
      stat_prefix: WARM_UP,
      route_config: {
        virtual_hosts: [
          {
            name: WARM_UP,
            domains: ['*'],
            typed_per_filter_config: REFUSING_FILTER_CONFIG,
            routes: [{ match: { prefix: '/' }, route: { cluster_header: CLUSTER_HEADER } }],
          },
        ],
      },
      http_filters: [httpFilter('router', 'Router', { upstream_http_filters: REFUSING_FILTERS })],
    }),
  };
}
