import { describe, expect, it } from 'vitest';
import { type Honest, honest, refusals, type Spoiled, spoil } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const LISTENER = 'envoy.config.listener.v3.Listener';

function onAddress(address: Spoiled): (configuration: Honest) => void {
  return ({ listeners }) => {
    listeners[0].address = address;
  };
}

function socket(address: string, more: Spoiled = {}): (configuration: Honest) => void {
  return onAddress({ socket_address: { address, port_value: 8080, ...more } });
}

function withField(field: string, value: Spoiled): (configuration: Honest) => void {
  return ({ listeners }) => {
    listeners[0][field] = value;
  };
}

it('accepts the configuration that the cases below spoil', () => {
  expect(refusals(honest())).toEqual([]);
});

describe("an address other than a service's loopback address is refused", () => {
  const range = `${HTTP} | address | ${LISTENER}.address: listeners are only accepted on 127.64.0.0/10`;
  const exact = `${HTTP} | address | ${LISTENER}.address: a listener must consist of only an address and a port`;
  const tcp = `${HTTP} | address | ${LISTENER}.address: only TCP sockets are accepted as listeners`;
  const cases: [string, (configuration: Honest) => void, string][] = [
    ['every interface', socket('0.0.0.0'), range],
    ['every interface, IPv6', socket('::'), range],
    ['loopback, IPv6', socket('::1'), range],
    ["the developer's loopback address", socket('127.0.0.1'), range],
    ['just below the range', socket('127.63.255.255'), range],
    ['just above the range', socket('127.128.0.0'), range],
    ['an address that programs read as a network', socket('127.64.7.0'), range],
    ['an address that programs read as a broadcast address', socket('127.64.7.255'), range],
    ['an octet above 255', socket('127.64.0.256'), range],
    ['an octet that may be octal', socket('127.64.0.010'), range],
    ['IPv4 within IPv6', socket('::ffff:127.64.0.1'), range],
    ['the network', socket('203.0.113.10'), range],
    ['a host name', socket('localhost'), range],
    [
      'no port',
      socket('127.64.0.1', { port_value: 0 }),
      `${HTTP} | address | ${LISTENER}.address: a listener requires a port`,
    ],
    [
      'a named port',
      onAddress({ socket_address: { address: '127.64.0.1', named_port: 'http' } }),
      `${HTTP} | address | ${LISTENER}.address: a listener requires a port`,
    ],
    ['UDP', socket('127.64.0.1', { protocol: 'UDP' }), exact],
    ['its own resolver', socket('127.64.0.1', { resolver_name: 'x' }), exact],
    ['another network namespace', socket('127.64.0.1', { network_namespace_filepath: '/run/netns/x' }), exact],
    ['a pipe', onAddress({ pipe: { path: '/tmp/x' } }), tcp],
    ['an internal address', onAddress({ envoy_internal_address: { server_listener_name: 'x' } }), tcp],
  ];
  it.each(cases)('%s', (_name, change, expected) => {
    expect(spoil(change)).toEqual([expected]);
  });

  it('a second address beside the first', () => {
    const change = withField('additional_addresses', [
      { address: { socket_address: { address: '0.0.0.0', port_value: 80 } } },
    ]);
    expect(spoil(change)).toEqual([
      `${HTTP} | additional_addresses | ${LISTENER}.additional_addresses: the field is not accepted`,
    ]);
  });

  it('the address of another listener', () => {
    const change = ({ listeners }: Honest) => {
      listeners[1].address = listeners[0].address;
    };
    expect(spoil(change)).toEqual([
      'Listener dev/127.64.0.2_5432 | address | "dev/127.64.0.1_8080" listens on the same address',
    ]);
  });
});

describe('a listener that reaches further than its socket is refused', () => {
  const cases: [string, Spoiled][] = [
    ['transparent', true],
    ['freebind', true],
    ['use_original_dst', true],
    ['socket_options', [{ level: 1, name: 15, int_value: 1 }]],
    ['udp_listener_config', {}],
    ['bind_to_port', false],
    ['enable_reuse_port', true],
    ['tcp_fast_open_queue_length', 5],
    ['enable_mptcp', true],
    ['ignore_global_conn_limit', true],
    ['bypass_overload_manager', true],
    ['connection_balance_config', { exact_balance: {} }],
    ['filter_chain_matcher', {}],
    ['fcds_config', {}],
  ];
  it.each(cases)('%s', (field, value) => {
    expect(spoil(withField(field, value))).toEqual([
      `${HTTP} | ${field} | ${LISTENER}.${field}: the field is not accepted`,
    ]);
  });

  it('api_listener', () => {
    expect(spoil(withField('api_listener', {}))).toEqual([
      `${HTTP} | api_listener | ${LISTENER}.api_listener: the field is not accepted`,
    ]);
  });

  it('an internal listener that replaces the tunnel', () => {
    const change = ({ listeners }: Honest) => {
      delete listeners[0].address;
      Object.assign(listeners[0], { name: 'tunnel/dev', internal_listener: {} });
    };
    expect(spoil(change)).toEqual([
      `Listener tunnel/dev | name | ${LISTENER}.name: name "tunnel/dev" does not start with one of the session's grants`,
    ]);
  });

  it('an internal listener that also has an address', () => {
    expect(spoil(withField('internal_listener', {}))).toEqual([
      `${HTTP} |  | ${LISTENER}: a listener must either have an address or be internal`,
    ]);
  });
});
