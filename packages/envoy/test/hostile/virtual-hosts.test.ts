import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil } from './honest.ts';

const NAME = 'RouteConfiguration dev/8080';
const ROUTE = 'envoy.config.route.v3';
const HOST = `${NAME} | virtual_hosts[0]`;
function route(change: (route: Spoiled, host: Spoiled) => void): string[] {
  return spoil(({ routes }) => change(routes[0].virtual_hosts[0].routes[0], routes[0].virtual_hosts[0]));
}

describe('a virtual host for a name outside the mesh is refused', () => {
  const names = [
    ...[
      'example.com',
      'github.com:443',
      'localhost',
      'localhost:8080',
      '*.com',
      '*.example.com',
      'registry.npmjs.example',
    ],
    ...[
      '10.96.0.1',
      '127.0.0.1',
      '[::1]:80',
      'orders',
      'orders.shop.svc.cluster.local.evil.example',
      'evil-svc.cluster.local',
    ],
    ...[
      '*.svc.cluster.local',
      '*.cluster.local',
      'svc.cluster.local',
      'a.orders.shop.svc.cluster.local',
      'orders.*',
      '*:80',
    ],
    ...['orders.shop.svc.cluster.local:99999999', 'ORDERS.shop.svc.cluster.local', 'other.shop', 'other.shop.svc', ''],
  ];
  it.each(names)('%s', (name) => {
    const refused = route((_, host) => {
      host.domains.push(name);
    });
    expect(refused).toEqual([
      `${HOST}.domains[3] | ${ROUTE}.VirtualHost.domains: domain ${JSON.stringify(name)} is not a service in the mesh`,
    ]);
  });

  it('every name with a route to a cluster', () => {
    const refused = route((_, host) => {
      host.domains.push('*');
    });
    expect(refused).toEqual([
      `${HOST}.domains[3] | ${ROUTE}.VirtualHost.domains: domain "*" may only lead to a direct response`,
    ]);
  });

  it('every name with a redirect', () => {
    const refused = spoil(({ routes }) => {
      routes[0].virtual_hosts[1].routes[0] = { match: { prefix: '/' }, redirect: { host_redirect: 'evil.example' } };
    });
    expect(refused).toEqual([
      `${NAME} | virtual_hosts[1].domains[0] | ${ROUTE}.VirtualHost.domains: domain "*" may only lead to a direct response`,
    ]);
  });

  it('accepts names with a port, a final dot, or below a headless service', () => {
    const refused = route((_, host) => {
      host.domains.push(
        'orders.shop.svc',
        'orders.shop.svc.cluster.local.',
        'orders.shop.svc.cluster.local:8080',
        '*.orders.shop.svc.cluster.local',
        '*.orders.shop',
      );
    });
    expect(refused).toEqual([]);
  });

  it('every name on the port of a single service, whose protocol istiod does not know', () => {
    const refused = spoil(({ listeners, routes }) => {
      routes[0].name = 'dev/orders.shop.svc.cluster.local:9090';
      listeners[0].filter_chains[0].filters[0].typed_config.rds.route_config_name = routes[0].name;
      routes[0].virtual_hosts[0].domains = ['*'];
    });
    expect(refused).toEqual([expect.stringContaining('domain "*" may only lead to a direct response')]);
  });
});
