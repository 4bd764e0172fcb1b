import type { JsonObject } from '@bufbuild/protobuf';
import { checkConfiguration } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import type { GrantSetConfiguration } from '../../src/mesh/xds/transform/merge.ts';
import {
  type Answers,
  at,
  EXPECTED,
  find,
  named,
  ORDERS_CLUSTER,
  ORDERS_ROUTES,
  text,
  transformed,
} from './istiod-answers.ts';

describe('routes', () => {
  const route = (answers: Answers) => at(named(answers.routes, ORDERS_ROUTES), 'virtual_hosts', 0, 'routes', 0);
  const routeOf = (set: GrantSetConfiguration) =>
    at(find(set.routes, `dev/${ORDERS_ROUTES}`), 'virtual_hosts', 0, 'routes', -1);
  const SECRET = 'outbound|80||secret.vault.svc.cluster.local';
  const config = '/apis/networking.istio.io/v1/namespaces/shop/virtual-service/orders';

  it('lead to subsets of granted services', () => {
    const set = transformed((answers) => {
      at(route(answers), 'route').cluster = 'outbound|8080|v2|orders.shop.svc.cluster.local';
    });
    expect(at(routeOf(set), 'route').cluster).toBe('dev/outbound|8080|v2|orders.shop.svc.cluster.local');
  });

  it.each(['cluster', 'weighted_clusters'])('answer 403 if %s leads out of the grant, and name the rule', (kind) => {
    const set = transformed((answers) => {
      const one = route(answers);
      one.metadata = { filter_metadata: { istio: { config } } };
      const clusters = [
        { name: ORDERS_CLUSTER, weight: 90 },
        { name: SECRET, weight: 10 },
      ];
      const { cluster: _, ...rest } = one.route as JsonObject;
      one.route = { ...rest, ...(kind === 'cluster' ? { cluster: SECRET } : { weighted_clusters: { clusters } }) };
    });
    const answer = at(routeOf(set), 'direct_response');
    expect(answer.status).toBe(403);
    expect(JSON.parse(String(at(answer, 'body').inline_string))).toEqual({
      error: 'access_denied',
      error_code: 'agent_route_not_granted',
      error_description:
        'VirtualService shop/orders leads to secret.vault.svc.cluster.local:80, which grant dev does not allow.',
    });
    expect(checkConfiguration({ version: 1, ...set }, EXPECTED)).toEqual([]);
  });

  it('answer 403 if the request would choose the cluster', () => {
    const set = transformed((answers) => {
      route(answers).route = { cluster_header: 'x-anywhere' };
    });
    expect(at(routeOf(set), 'direct_response').status).toBe(403);
    expect(text(set)).not.toContain('x-anywhere');
  });

  it('mirror to granted services only', () => {
    const set = transformed((answers) => {
      at(route(answers), 'route').request_mirror_policies = [{ cluster: SECRET }, { cluster: ORDERS_CLUSTER }];
    });
    expect(at(routeOf(set), 'route').request_mirror_policies).toEqual([{ cluster: `dev/${ORDERS_CLUSTER}` }]);
    expect(text(set)).not.toContain('vault');
  });

  it('are of names of granted services only', () => {
    const set = transformed((answers) => {
      at(named(answers.routes, ORDERS_ROUTES), 'virtual_hosts', 0).domains = [
        'example.com',
        'orders.shop.svc.cluster.local',
        '*',
      ];
    });
    expect(at(find(set.routes, `dev/${ORDERS_ROUTES}`), 'virtual_hosts', 0).domains).toEqual([
      'orders.shop.svc.cluster.local',
    ]);
  });
});
