/** What the agent adds to every HTTP listener of a configuration. */
import type { Message } from '@bufbuild/protobuf';
import { asJson, LISTENER, unpack } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { brokerAnswers } from '../../src/session/broker-answers.ts';
import { acceptConfiguration } from '../../src/xds/accept.ts';
import { configurationOf, encoded } from '../configuration.ts';
import { service } from '../harness.ts';

const ORDERS = service();

/** Names of the HTTP filters of the one listener, and the names that its filter of foreign hosts lets pass. */
function filtersWith(services: readonly (typeof ORDERS)[]) {
  const received = brokerAnswers('cluster.local').configuration(encoded(configurationOf([ORDERS], 1)));
  const expected = { trustDomain: 'cluster.local', clusterDomain: 'cluster.local', grants: [ORDERS.grant] };
  const accepted = acceptConfiguration(received, expected, {
    services,
    sessionId: 's',
    tokenHeader: 'x-meshpass-token',
    mayListenOn: () => true,
  });
  if (accepted.refused) throw new Error(JSON.stringify(accepted.refused));
  const [listener] = accepted.resources[LISTENER]!.values();
  const text = JSON.stringify(asJson(unpack(listener!) as Message));
  const filters = JSON.parse(text).filter_chains[0].filters[0].typed_config.http_filters as { name: string }[];
  return { names: filters.map(({ name }) => name), regex: /"regex":"([^"]*)"/.exec(text)?.[1] };
}

test('a listener gets the token, an answer that explains, and refuses foreign hosts', () => {
  const { names, regex } = filtersWith([ORDERS]);
  expect(names.slice(0, 3)).toEqual(['meshpass.foreign_host', 'meshpass.explain', 'meshpass.token']);
  expect(JSON.parse(`"${regex}"`)).toBe(
    '(orders\\.shop\\.svc\\.cluster\\.local|orders\\.shop\\.svc|orders\\.shop)(:[0-9]+)?',
  );
});

test('of a service that is not in the list yet, every forwarded host is refused', () => {
  const { names, regex } = filtersWith([]);
  expect(names.slice(0, 2)).toEqual(['meshpass.foreign_host', 'meshpass.token']);
  expect(regex).toBe('()(:[0-9]+)?');
});
