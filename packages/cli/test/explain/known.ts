/** An agent's answers, for the tests of `meshpass explain`. */
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import type { RouteAnswer } from '@meshpass/agent/explain/route';
import type { ReachableService } from '@meshpass/identity/wire';

export function service(more: Partial<ReachableService> = {}): ReachableService {
  const host = more.host ?? 'orders.shop.svc.cluster.local';
  const [name, namespace] = host.split('.');
  return {
    grant: 'dev',
    host,
    port: 8080,
    address: '127.64.0.1',
    protocol: 'http',
    aliases: [`${name}.${namespace}.svc`, `${name}.${namespace}`],
    spiffe_ids: [`spiffe://cluster.local/ns/${namespace}/sa/${name}`],
    ...more,
  };
}

export function known(services: readonly ReachableService[], more: Partial<ExplainResponse> = {}): ExplainResponse {
  const grants = [...new Set(services.map(({ grant }) => grant))];
  return {
    session: { id: 'ses-1', subject: 'github:1', login: 'alice', grants },
    trustDomain: 'cluster.local',
    tokenHeader: 'x-meshpass-token',
    services,
    claims: { iss: 'https://broker.example', aud: ['meshpass'], sub: 'github:1', grants },
    principals: Object.fromEntries(grants.map((one) => [one, `spiffe://cluster.local/ns/meshpass-${one}/sa/alice-1`])),
    listening: services.map(({ address, port }) => `${address}:${port}`),
    byProxyOnly: [],
    routes: Object.fromEntries(services.map((one) => [one.grant, straight(one)])),
    ...more,
  };
}

export function straight({ host, port }: Pick<ReachableService, 'host' | 'port'>): RouteAnswer {
  return { kind: 'forward', to: [{ host, port }], notes: [] };
}
