/** The agent's additions to every HTTP listener of a configuration. */
import type { Message } from '@bufbuild/protobuf';
import { LISTENER, toProtoJson, unpack } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { parseConfiguration } from '../../src/session/broker-answers.ts';
import { acceptConfiguration } from '../../src/xds/accept.ts';
import { configurationOf, encoded } from '../configuration.ts';
import { service } from '../harness.ts';

const ORDERS = service();

/** Returns the names of the single listener's HTTP filters, and the host names that its foreign-host filter accepts. */
function filtersWith(services: readonly (typeof ORDERS)[]) {
  const content = parseConfiguration(encoded(configurationOf([ORDERS])));
  const expected = {
    trustDomain: 'cluster.local',
    clusterDomain: 'cluster.local',
    tokenHeader: 'x-meshpass-token',
    grants: [ORDERS.grant],
  };
  const accepted = acceptConfiguration({ version: 1, ...content }, expected, {
    services,
    sessionId: 's',
    mayListenOn: () => true,
  });
  if (accepted.refused) throw new Error(JSON.stringify(accepted.refused));
  const [listener] = accepted.resources[LISTENER]!.values();
  const text = JSON.stringify(toProtoJson(unpack(listener!) as Message));
  const filters = JSON.parse(text).filter_chains[0].filters[0].typed_config.http_filters as { name: string }[];
  return { names: filters.map(({ name }) => name), regex: /"regex":"([^"]*)"/.exec(text)?.[1] };
}

test('adds filters that explain refusals and refuse foreign hosts, but none for the token', () => {
  const { names, regex } = filtersWith([ORDERS]);
  expect(names.slice(0, 3)).toEqual(['meshpass.foreign_caller', 'meshpass.explain', 'envoy.filters.http.router']);
  expect(JSON.parse(`"${regex}"`)).toBe(
    '(orders\\.shop\\.svc\\.cluster\\.local|orders\\.shop\\.svc|orders\\.shop)(:[0-9]+)?',
  );
});

test('refuses every forwarded host for a service that is not in the list yet', () => {
  const { names, regex } = filtersWith([]);
  expect(names.slice(0, 2)).toEqual(['meshpass.foreign_caller', 'envoy.filters.http.router']);
  expect(regex).toBe('()(:[0-9]+)?');
});
