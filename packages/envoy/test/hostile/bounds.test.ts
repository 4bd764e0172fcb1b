import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { BOUNDS_BY_FIELD } from '../../src/allow/bounds.ts';
import { ALLOW_LIST } from '../../src/allow/list.ts';
import {
  CLUSTER,
  checkConfiguration,
  LISTENER,
  messageType,
  pack,
  ROUTE_CONFIGURATION,
  readConfiguration,
  reduceResource,
} from '../../src/index.ts';
import { resourceOf } from '../readable.ts';
import { EXPECTED } from '../relayed.ts';
import { type Honest, honest, refusals, type Spoiled, spoil } from './honest.ts';

function cluster(name = 'dev/x') {
  return resourceOf({ '@type': `type.googleapis.com/${CLUSTER}`, name });
}

/** Encodes a field in protobuf's wire format. */
function bytesField(number: number, content: Uint8Array): Uint8Array {
  const varint = (value: number): number[] => (value > 127 ? [(value & 127) | 128, ...varint(value >>> 7)] : [value]);
  return Buffer.concat([Uint8Array.from([...varint((number << 3) | 2), ...varint(content.length)]), content]);
}

describe('a configuration that is too large is refused before decoding', () => {
  it('4,097 resources', () => {
    const clusters = Array.from({ length: 4_097 }, (_, index) => cluster(`dev/${index}`));
    expect(refusals(honest(), { clusters })).toEqual(['configuration |  | 4100 resources; at most 4096 are accepted']);
  });

  it('one resource of more than 1 MiB', () => {
    const clusters = [{ ...cluster(), value: Buffer.alloc(1024 * 1024 + 1) }];
    expect(refusals(honest(), { clusters })).toEqual(['clusters[0] |  | 1048577 bytes; at most 1048576 are accepted']);
  });

  it('more than 16 MiB together', () => {
    const clusters = Array.from({ length: 17 }, () => ({ ...cluster(), value: Buffer.alloc(1024 * 1024) }));
    expect(refusals(honest(), { clusters })).toEqual([
      expect.stringMatching(/^configuration \| {2}\| \d+ bytes; at most 16777216/),
    ]);
  });

  it('400,000 values', () => {
    const route = (name: string) =>
      resourceOf({
        '@type': `type.googleapis.com/${ROUTE_CONFIGURATION}`,
        name,
        virtual_hosts: [{ retry_policy: { retriable_status_codes: Array.from({ length: 600_000 }, () => 5) } }],
      });
    expect(refusals(honest(), { routes: [route('dev/1'), route('dev/2')] })).toContain(
      'configuration |  | more than 400000 values',
    );
  });

  it('messages nested deeper than 64, in one message or across several', () => {
    let deep: Uint8Array = new Uint8Array();
    for (let depth = 0; depth < 2_000; depth++) deep = bytesField(5, bytesField(1, deep));
    const listener = {
      ...resourceOf({ '@type': `type.googleapis.com/${LISTENER}`, name: 'dev/x' }),
      value: bytesField(22, bytesField(2, deep)),
    };
    expect(refusals(honest(), { listeners: [listener] })).toEqual([
      'listeners[0] |  | it cannot be decoded, or is nested too deeply',
    ]);
  });
});

describe('every value is bounded by its type', () => {
  const [FIRST_CLUSTER] = honest().clusters;
  const inCluster = (json: object) => spoil(({ clusters }) => Object.assign(clusters[0], json));
  const inAction = (json: object) =>
    spoil(({ routes }) => Object.assign(routes[0].virtual_hosts[0].routes[0].route, json));
  const inManager = (json: object) =>
    spoil(({ listeners }) => Object.assign(listeners[0].filter_chains[0].filters[0].typed_config, json));
  const mirrors = (count: number) =>
    Array.from({ length: count }, () => ({ cluster: 'dev/outbound|8080||orders.shop.svc.cluster.local' }));

  it.each([
    ['an interval of a nanosecond', () => inCluster({ outlier_detection: { interval: '0.000000001s' } })],
    ['an interval of ten milliseconds', () => inCluster({ outlier_detection: { interval: '0.010s' } })],
    ['a timeout of a nanosecond', () => inCluster({ connect_timeout: '0.000000001s' })],
    ['a negative timeout', () => inAction({ timeout: '-1s' })],
    ['a timeout of two years', () => inAction({ timeout: '63072000s' })],
    ['retries without pause', () => inAction({ retry_policy: { retry_back_off: { base_interval: '0.0000001s' } } })],
    ['unbounded retries', () => inAction({ retry_policy: { num_retries: 4_294_967_295 } })],
    ['33 retries', () => inAction({ retry_policy: { num_retries: 33 } })],
    ['endless selection', () => inAction({ retry_policy: { host_selection_retry_max_attempts: '9007199254740993' } })],
    ['a long statistics name', () => inCluster({ alt_stat_name: 'x'.repeat(257) })],
    ['a long statistics prefix of HTTP', () => inManager({ stat_prefix: 'x'.repeat(129) })],
    ['a preconnect ratio of a billion', () => inCluster({ preconnect_policy: { per_upstream_preconnect_ratio: 1e9 } })],
    [
      'a preconnect ratio that is not a number',
      () => inCluster({ preconnect_policy: { per_upstream_preconnect_ratio: 'NaN' } }),
    ],
    [
      'a share of a billion percent',
      () => inCluster({ circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 1e9 } } }] } }),
    ],
    ['a very long statistics prefix', () => inManager({ stat_prefix: 'x'.repeat(65_536) })],
    ['5,000 mirrors', () => inAction({ request_mirror_policies: mirrors(5_000) })],
    ['9 mirrors', () => inAction({ request_mirror_policies: mirrors(9) })],
    ['a large buffer', () => inCluster({ per_connection_buffer_limit_bytes: 1_048_577 })],
    ['many upgrades', () => inManager({ server_name: 'x'.repeat(1_025) })],
    [
      'many metadata keys',
      () =>
        inCluster({
          metadata: {
            filter_metadata: { istio: Object.fromEntries(Array.from({ length: 129 }, (_, one) => [`${one}`, 1])) },
          },
        }),
    ],
    [
      '17 filter chains',
      () =>
        spoil(({ listeners }) => {
          listeners[0].filter_chains = Array.from({ length: 17 }, () => listeners[0].filter_chains[0]);
        }),
    ],
  ])('%s: refused', (_, spoiled) => {
    expect(spoiled()).toEqual([
      expect.stringMatching(/ (at most|more than) \d+( are accepted| entries)?$| is not between \S+ s and \S+ s$/),
    ]);
  });

  it.each([
    ['intervals that Istio documents', () => inCluster({ outlier_detection: { interval: '1s' } })],
    ['no timeout', () => inAction({ timeout: '0s', idle_timeout: '0s' })],
    ['a timeout of a millisecond', () => inAction({ timeout: '0.001s' })],
    ['32 retries', () => inAction({ retry_policy: { num_retries: 32, retry_back_off: { base_interval: '0.025s' } } })],
    [
      'the preconnect ratio of the broker',
      () => inCluster({ preconnect_policy: { per_upstream_preconnect_ratio: 3 } }),
    ],
    ['a statistics prefix', () => inManager({ stat_prefix: 'x'.repeat(128) })],
    ['8 mirrors', () => inAction({ request_mirror_policies: mirrors(8) })],
    ['no connection limits', () => inCluster({ circuit_breakers: { thresholds: [{ max_retries: 4_294_967_295 }] } })],
    ['a long header', () => spoil(({ routes }) => addHeader(routes[0], 'x'.repeat(16_384)))],
  ])('%s: accepted', (_, spoiled) => {
    expect(spoiled()).toEqual([]);
  });

  it('the broker omits only the field', () => {
    const resource = resourceOf({
      ...FIRST_CLUSTER,
      outlier_detection: { interval: '0.000000001s', consecutive_5xx: 3 },
      alt_stat_name: 'x'.repeat(65_536),
    });
    const { resource: reduced, leftOut } = reduceResource(resource, EXPECTED);
    expect(leftOut.map(({ where }) => where)).toEqual(['alt_stat_name', 'outlier_detection.interval']);
    expect(refusals(honest(), { clusters: [reduced!, resourceOf(honest().clusters[1])] })).toEqual([]);
  });

  it('every field with its own bounds is accepted', () => {
    for (const name of Object.keys(BOUNDS_BY_FIELD)) {
      const [type, field] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)];
      const entry = ALLOW_LIST[type];
      const accepted = [...(entry?.free?.split(' ') ?? []), ...Object.keys(entry?.fields ?? {})];
      expect({ name, accepted }).toEqual({
        name,
        accepted: field === '*' ? accepted : expect.arrayContaining([field]),
      });
      expect(accepted).not.toEqual([]);
      if (field !== '*') expect(messageType(type).fields.map((one) => one.name)).toContain(field);
    }
  });

  function addHeader(route: Spoiled, value: string): void {
    route.request_headers_to_add = [{ header: { key: 'x', value } }];
  }
});

describe("all values together must fit Envoy's memory budget", () => {
  const TOO_MUCH = ['configuration |  | Envoy would need more than 512 MiB'];
  const [HTTP] = honest().listeners;
  const [CLUSTER_OF_ORDERS] = honest().clusters;
  const routesOf = (hosts: number, routes: number, regex: (index: number) => string) => ({
    '@type': `type.googleapis.com/${ROUTE_CONFIGURATION}`,
    name: 'dev/8080',
    virtual_hosts: Array.from({ length: hosts }, (_, host) => ({
      name: `v${host}`,
      domains: [`s${host}.shop.svc.cluster.local`],
      routes: Array.from({ length: routes }, (_unused, index) => ({
        match: { safe_regex: { regex: regex(index) } },
        direct_response: { status: 200 },
      })),
    })),
  });
  const inRoutes = (route: Spoiled) =>
    spoil((configuration) => {
      configuration.routes = [route];
    });
  /** @param copies number of filter chains, including the default one */
  const listeners = (count: number, copies: number) =>
    Array.from({ length: count }, (_, index) => {
      const [chain] = structuredClone(HTTP.filter_chains);
      const socket_address = {
        address: `127.64.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`,
        port_value: 8080,
      };
      return {
        ...HTTP,
        name: `dev/l${index}`,
        address: { socket_address },
        filter_chains: [chain],
        ...(copies > 1 && { default_filter_chain: chain }),
      };
    });

  it.each([
    ['repetitions', (index: number) => `/${index}.{1000}.{1000}.{1000}`],
    ['repetitions of repetitions', (index: number) => `/${index}((a{9}){9}){9}.{999}`],
    ['Unicode classes', (index: number) => `/${index}\\pL{100}`],
    ['repetitions after a quotation', (index: number) => `/${index}\\Q(\\E.{1000}.{1000}`],
    ['case-insensitive repetitions', (index: number) => `/${index}(?i)k{1000}k{1000}k{1000}`],
    ['alternatives', (index: number) => `/${index}(?:é|[^a-z]|\\W){900}`],
  ])('refuses 6,000 regular expressions with %s', (_, regex) => {
    expect(inRoutes(routesOf(2, 3_000, regex))).toEqual(TOO_MUCH);
  });

  it('refuses many filter chains, including default ones', () => {
    expect(spoil((it) => Object.assign(it, { listeners: listeners(4_000, 2), clusters: [] }))).toEqual(TOO_MUCH);
  });

  it('refuses many TLS contexts', () => {
    const spoiled = spoil(({ clusters }) => {
      const [match] = clusters[0].transport_socket_matches;
      // Optional in a context.
      delete match.transport_socket.typed_config.common_tls_context.alpn_protocols;
      const matches = Array.from({ length: 128 }, (_, index) => ({ ...match, name: `m${index}` }));
      for (let index = 0; index < 80; index++)
        clusters.push({ ...clusters[0], name: `${clusters[0].name}-${index}`, transport_socket_matches: matches });
    });
    expect(spoiled).toEqual(TOO_MUCH);
  });

  it('accepts 1,000 services with TLS, HTTP and routes', () => {
    const clusters = Array.from({ length: 1_000 }, (_, index) => ({
      ...CLUSTER_OF_ORDERS,
      name: `dev/outbound|8080|v${index}|orders.shop.svc.cluster.local`,
    }));
    expect(
      spoil((it) => {
        it.clusters.push(...clusters);
        it.listeners = listeners(1_000, 1);
        it.routes = [routesOf(1_000, 4, () => '^/orders/[^/]+/items$')];
      }),
    ).toEqual([]);
  });

  it('accepts 300 services with 300 regular expressions for UUIDs', () => {
    const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
    expect(inRoutes(routesOf(300, 1, () => `^/orders/${uuid}$`))).toEqual([]);
    expect(inRoutes(routesOf(300, 20, () => `^/orders/${uuid}/items/${uuid}$`))).toEqual([]);
  });
});

describe('a configuration designed to be slow is refused before decoding', () => {
  const repeated = (bytes: Uint8Array, count: number) => Buffer.concat(Array.from({ length: count }, () => bytes));
  const MOST = 1024 * 1024 - 1_000;
  it.each([
    ['empty virtual hosts', repeated(bytesField(2, Buffer.alloc(0)), MOST / 2)],
    ['empty routes', bytesField(2, repeated(bytesField(3, Buffer.alloc(0)), (MOST - 10) / 2))],
    ['unknown fields', repeated(Uint8Array.of(0xf8, 0x7f, 1), Math.floor(MOST / 3))],
    ['packed numbers', bytesField(2, bytesField(16, bytesField(7, Buffer.alloc(MOST - 20, 1))))],
  ])('%s', (_, content) => {
    const routes = Array.from({ length: 16 }, (_unused, index) => ({
      ...resourceOf({ '@type': `type.googleapis.com/${ROUTE_CONFIGURATION}`, name: `dev/${index}` }),
      value: Buffer.concat([bytesField(1, Buffer.from(`dev/${index}`)), content]),
    }));
    const before = process.cpuUsage();
    expect(refusals(honest(), { routes })).toContain('configuration |  | more than 400000 values');
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000).toBeLessThan(1_000);
  });
});

describe('a configuration that cannot be decoded exactly is refused', () => {
  it('invalid bytes', () => {
    expect(refusals(honest(), { clusters: [{ ...cluster(), value: Uint8Array.of(255, 255, 255) }] })).toEqual([
      'clusters[0] |  | it cannot be decoded, or is nested too deeply',
    ]);
  });

  it('a resource of another kind, of an unknown type, or with another prefix', () => {
    const other = (typeUrl: string) => refusals(honest(), { clusters: [{ ...cluster(), typeUrl }] });
    for (const typeUrl of [
      `type.googleapis.com/${LISTENER}`,
      'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
      `evil.example/${CLUSTER}`,
      CLUSTER,
      '',
    ])
      expect(other(typeUrl)).toEqual([`clusters[0] |  | ${JSON.stringify(typeUrl)} is not a Cluster`]);
  });

  it('an unknown field at any depth', () => {
    const unknown = [{ no: 9_999, wireType: 2, data: Uint8Array.of(1, 120) }];
    const type = messageType(CLUSTER);
    const top = fromBinary(type, cluster().value);
    top.$unknown = unknown;
    const deep = fromBinary(type, resourceOf(honest().clusters[0]).value) as Spoiled;
    deep.loadAssignment.endpoints[0].lbEndpoints[0].hostIdentifier.value.address.$unknown = unknown;
    expect(refusals(honest(), { clusters: [pack(top), { ...cluster(), value: toBinary(type, deep) }] })).toEqual([
      `Cluster dev/x |  | ${CLUSTER}: field number 9999: the field is unknown`,
      'Cluster dev/outbound|8080||orders.shop.svc.cluster.local | load_assignment.endpoints[0].lb_endpoints[0].endpoint.address | envoy.config.endpoint.v3.Endpoint.address: an endpoint must consist of only an internal listener and an id',
    ]);
  });

  it('an unknown enum value', () => {
    const message = fromBinary(messageType(CLUSTER), cluster().value) as Spoiled;
    message.lbPolicy = 99;
    expect(refusals(honest(), { clusters: [pack(message)] })).toEqual([
      `Cluster dev/x | lb_policy | ${CLUSTER}.lb_policy: unknown value 99`,
    ]);
  });
});

describe('names', () => {
  it('are refused if they occur twice', () => {
    const twice = (list: 'clusters' | 'routes') =>
      spoil((configuration: Honest) => {
        configuration[list].push(configuration[list][0]);
      });
    expect([...twice('clusters'), ...twice('routes')]).toEqual([
      'Cluster dev/outbound|8080||orders.shop.svc.cluster.local | name | another resource already has this name',
      'RouteConfiguration dev/8080 | name | another resource already has this name',
    ]);
  });

  it.each(['agent', 'edge/dev', 'tunnel/dev', 'other/x', 'x', 'dev/', 'dev/\u0000', ''])('%j are refused', (name) => {
    const found = refusals(honest(), { clusters: [cluster(name)], listeners: [], routes: [] });
    const reason =
      name === '' ? 'name must be set' : `name ${JSON.stringify(name)} does not start with one of the session's grants`;
    expect(found).toEqual([expect.stringContaining(reason)]);
  });

  it('are refused if the grant has a reserved name of the agent', () => {
    const configuration = { version: 1, listeners: [], routes: [], clusters: [cluster('tunnel/x')] };
    const [refusal] = checkConfiguration(configuration, { ...EXPECTED, grants: ['tunnel'] });
    expect(refusal?.reason).toContain("does not start with one of the session's grants");
  });
});

it('lists at most a hundred refusals', () => {
  const clusters = Array.from({ length: 200 }, (_, index) => cluster(`other/${index}`));
  expect(refusals(honest(), { clusters })).toHaveLength(100);
});

it('passes Envoy the checked message, not the received bytes, so that of two values only the last exists', () => {
  // The bytes contain two names; protobuf decodes the last.
  const value = Buffer.concat([cluster('dev/first').value, cluster('dev/last').value]);
  const { refusals: none, clusters } = readConfiguration(
    { version: 1, listeners: [], routes: [], clusters: [{ ...cluster(), value }] },
    EXPECTED,
  );
  expect(none).toEqual([]);
  expect(Buffer.from(pack(clusters[0]!).value).includes('first')).toBe(false);
});
