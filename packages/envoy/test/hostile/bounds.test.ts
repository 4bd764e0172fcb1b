import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  CLUSTER,
  checkConfiguration,
  LISTENER,
  messageType,
  pack,
  ROUTE_CONFIGURATION,
  readConfiguration,
} from '../../src/index.ts';
import { resourceOf } from '../readable.ts';
import { EXPECTED } from '../relayed.ts';
import { type Honest, honest, refusals, type Spoiled, spoil } from './honest.ts';

function cluster(name = 'dev/x') {
  return resourceOf({ '@type': `type.googleapis.com/${CLUSTER}`, name });
}

/** A field in protobuf's wire format. */
function bytesField(number: number, content: Uint8Array): Uint8Array {
  const varint = (value: number): number[] => (value > 127 ? [(value & 127) | 128, ...varint(value >>> 7)] : [value]);
  return Buffer.concat([Uint8Array.from([...varint((number << 3) | 2), ...varint(content.length)]), content]);
}

describe('what is too large is refused before it is read', () => {
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

  it('a million values', () => {
    const route = (name: string) =>
      resourceOf({
        '@type': `type.googleapis.com/${ROUTE_CONFIGURATION}`,
        name,
        virtual_hosts: [{ retry_policy: { retriable_status_codes: Array.from({ length: 600_000 }, () => 5) } }],
      });
    expect(refusals(honest(), { routes: [route('dev/1'), route('dev/2')] })).toContain(
      'configuration |  | more than 1000000 values',
    );
  });

  it('messages that are nested deeper than 64, in one message or across several', () => {
    let deep: Uint8Array = new Uint8Array();
    for (let depth = 0; depth < 2_000; depth++) deep = bytesField(5, bytesField(1, deep));
    const listener = {
      ...resourceOf({ '@type': `type.googleapis.com/${LISTENER}`, name: 'dev/x' }),
      value: bytesField(22, bytesField(2, deep)),
    };
    expect(refusals(honest(), { listeners: [listener] })).toEqual([
      'listeners[0] |  | it cannot be read, or is nested too deep',
    ]);
  });
});

describe('what cannot be read exactly is refused', () => {
  it('bytes that are no message', () => {
    expect(refusals(honest(), { clusters: [{ ...cluster(), value: Uint8Array.of(255, 255, 255) }] })).toEqual([
      'clusters[0] |  | it cannot be read, or is nested too deep',
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

  it('a field that this version does not know, at any depth', () => {
    const unknown = [{ no: 9_999, wireType: 2, data: Uint8Array.of(1, 120) }];
    const type = messageType(CLUSTER);
    const top = fromBinary(type, cluster().value);
    top.$unknown = unknown;
    const deep = fromBinary(type, resourceOf(honest().clusters[0]).value) as Spoiled;
    deep.loadAssignment.endpoints[0].lbEndpoints[0].hostIdentifier.value.address.$unknown = unknown;
    expect(refusals(honest(), { clusters: [pack(top), { ...cluster(), value: toBinary(type, deep) }] })).toEqual([
      `Cluster dev/x |  | ${CLUSTER}: field number 9999: the field is not known`,
      'Cluster dev/outbound|8080||orders.shop.svc.cluster.local | load_assignment.endpoints[0].lb_endpoints[0].endpoint.address | envoy.config.endpoint.v3.Endpoint.address: an endpoint is an internal listener and an id, nothing else',
    ]);
  });

  it('a value of an enum that this version does not know', () => {
    const message = fromBinary(messageType(CLUSTER), cluster().value) as Spoiled;
    message.lbPolicy = 99;
    expect(refusals(honest(), { clusters: [pack(message)] })).toEqual([
      `Cluster dev/x | lb_policy | ${CLUSTER}.lb_policy: there is no value 99`,
    ]);
  });
});

describe('names', () => {
  it('that are there twice are refused', () => {
    const twice = (list: 'clusters' | 'routes') =>
      spoil((configuration: Honest) => {
        configuration[list].push(configuration[list][0]);
      });
    expect([...twice('clusters'), ...twice('routes')]).toEqual([
      'Cluster dev/outbound|8080||orders.shop.svc.cluster.local | name | there is another of this name',
      'RouteConfiguration dev/8080 | name | there is another of this name',
    ]);
  });

  it.each(['agent', 'edge/dev', 'tunnel/dev', 'other/x', 'x', 'dev/', 'dev/\u0000', ''])('%j are refused', (name) => {
    const found = refusals(honest(), { clusters: [cluster(name)], listeners: [], routes: [] });
    const reason = name === '' ? 'name must be set' : `name ${JSON.stringify(name)} does not begin with a grant`;
    expect(found).toEqual([expect.stringContaining(reason)]);
  });

  it('of a grant that is called as something of the agent are refused', () => {
    const configuration = { version: 1, listeners: [], routes: [], clusters: [cluster('tunnel/x')] };
    const [refusal] = checkConfiguration(configuration, { ...EXPECTED, grants: ['tunnel'] });
    expect(refusal?.reason).toContain('does not begin with a grant of the session');
  });
});

it('lists at most a hundred refusals', () => {
  const clusters = Array.from({ length: 200 }, (_, index) => cluster(`other/${index}`));
  expect(refusals(honest(), { clusters })).toHaveLength(100);
});

it('gives Envoy what was checked, not what was sent: the last of two values is the only one', () => {
  // Two names in the bytes; protobuf takes the last.
  const value = Buffer.concat([cluster('dev/first').value, cluster('dev/last').value]);
  const { refusals: none, clusters } = readConfiguration(
    { version: 1, listeners: [], routes: [], clusters: [{ ...cluster(), value }] },
    EXPECTED,
  );
  expect(none).toEqual([]);
  expect(Buffer.from(pack(clusters[0]!).value).includes('first')).toBe(false);
});
