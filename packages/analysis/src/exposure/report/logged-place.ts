/** Determines which workload port an access log line belongs to. */

import type { Endpoint } from '../../diff/endpoint.ts';
import { type LogFields, logFieldText } from './access-log.ts';

export interface LoggedPlace {
  readonly endpoints: readonly Endpoint[];
  /** Whether the line can only have been written by the proxies of these workloads. */
  readonly isCertain: boolean;
}

/**
 * Creates a function that finds out where a log line was written. In a sidecar's log, the Service is identified by the
 * server name that Istio clients send, or else by the host. If both are missing, the line could belong to any workload
 * with that port. Lines about outbound calls do not identify the proxy. They come from a gateway if the host is outside
 * the mesh and the caller's address was added (`x_forwarded_for`).
 */
export function createLogLocator(all: readonly Endpoint[]): (fields: LogFields) => LoggedPlace {
  const [http, tcp] = [indexOf(all, 'http'), indexOf(all, 'tcp')];
  return (fields) => {
    const index = logFieldText(fields.method) === undefined ? tcp : http;
    const [direction = '', number, , host] = (logFieldText(fields.upstream_cluster) ?? '').split('|');
    const sent = SENT.exec(logFieldText(fields.requested_server_name) ?? '')?.[1];
    const named = serviceIn((logFieldText(fields.authority) ?? '').replace(/:\d+$/, ''));
    if (direction.startsWith('inbound') || (direction === '' && sent !== undefined)) {
      const service = serviceIn(host || sent || '') ?? named;
      return inbound(index, service, Number(number || portIn(fields)));
    }
    const isGateway = direction === 'outbound' && logFieldText(fields.x_forwarded_for) !== undefined;
    return { endpoints: index.gateways, isCertain: isGateway && !index.byService.has(named ?? '') };
  };
}

/** The server name that Istio clients send: `outbound_.PORT_.SUBSET_.HOST`. Source: `BuildDNSSrvSubsetKey` in Istio. */
const SENT = /^outbound_\.\d+_\.[^_]*_\.(.+)$/;

function inbound({ byService, byPort }: Index, service: string | undefined, port: number): LoggedPlace {
  const known = byService.get(service ?? '');
  if (!known) return { endpoints: byPort.get(port) ?? [], isCertain: false };
  const atPort = known.filter((one) => one.port === port);
  return { endpoints: atPort.length > 0 ? atPort : known, isCertain: true };
}

function portIn(fields: LogFields): string | undefined {
  return /:(\d+)$/.exec(logFieldText(fields.downstream_local_address) ?? '')?.[1];
}

/**
 * Returns the Service that a host refers to: `orders.shop` for both `orders.shop.svc.cluster.local` and `orders.shop`.
 */
function serviceIn(host: string): string | undefined {
  return /^([^.]+\.[^.]+)(?:\.svc(?:\..+)?)?$/.exec(host.toLowerCase())?.[1];
}

interface Index {
  readonly gateways: readonly Endpoint[];
  readonly byService: ReadonlyMap<string, readonly Endpoint[]>;
  readonly byPort: ReadonlyMap<number | undefined, readonly Endpoint[]>;
}

function indexOf(all: readonly Endpoint[], protocol: Endpoint['protocol']): Index {
  const endpoints = all.filter((one) => one.protocol === protocol);
  const byService = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    for (const name of new Set(endpoint.services.map((one) => one.replace(/:\d+$/, '')))) {
      const known = byService.get(name);
      if (known) known.push(endpoint);
      else byService.set(name, [endpoint]);
    }
  }
  return {
    gateways: endpoints.filter(({ workload }) => workload.kind === 'gateway'),
    byService,
    byPort: Map.groupBy(endpoints, ({ port }) => port),
  };
}
