/** Classification of access log entries as refusals. */
import type { JsonObject } from '@bufbuild/protobuf';
import { messageFromJson } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { RefusalLog } from '../../src/access-log/refusals.ts';
import { RefusalReport } from '../../src/access-log/report.ts';

const PROXY = { address: '127.0.0.1', port_value: 4000 };

function refusedBy(details: string, status: number, flags: JsonObject = {}, headers: JsonObject = {}) {
  return refusalOf(details, status, { response_flags: flags }, headers)?.hop;
}

function refusalOf(details: string, status: number, common: JsonObject, headers: JsonObject = {}) {
  const options = { now: () => 1, report: new RefusalReport(), services: () => [], proxyPort: PROXY.port_value };
  const refusals = new RefusalLog(options);
  const entry = {
    common_properties: common,
    request: { request_method: 'GET', authority: 'orders.shop:8080', path: '/orders/1' },
    response: { response_code: status, response_code_details: details, response_headers: headers },
  };
  refusals.take(
    messageFromJson('envoy.service.accesslog.v3.StreamAccessLogsMessage', { http_logs: { log_entry: [entry] } }),
  );
  return refusals.last[0];
}

test.each([
  ['a 404 from the service', 'via_upstream', 404, {}],
  ['a 500 from the service', 'via_upstream', 500, {}],
  ['a response delayed by a VirtualService', 'via_upstream', 200, { delay_injected: true }],
  ['a fault injected by a VirtualService', 'fault_filter_abort', 418, { fault_injected: true }],
  ['a direct response of a VirtualService', 'direct_response', 403, {}],
  ['a request aborted by its caller', 'downstream_remote_disconnect', 0, { downstream_connection_termination: true }],
  ['a request that is not HTTP', 'http1.codec_error', 400, { downstream_protocol_error: true }],
])('does not count %s as a refusal', (_, details, status, flags) => {
  expect(refusedBy(details, status, flags)).toBeUndefined();
});

test.each([
  ['the policy of the workload', 'workload', 'via_upstream', 403, {}, { 'x-meshpass-code': 'agent_policy_refused' }],
  ['the token at the workload', 'workload', 'via_upstream', 401, {}, {}],
  ['a filter of the workspace', 'workspace', 'rbac_access_denied_matched_policy[foreign-host]', 403, {}, {}],
  [
    'a route outside the grant',
    'workspace',
    'direct_response',
    403,
    {},
    { 'x-meshpass-code': 'agent_route_not_granted' },
  ],
  ['no route', 'workspace', 'route_not_found', 404, { no_route_found: true }, {}],
  ['the way', 'mesh', 'upstream_reset_before_response_started', 503, { upstream_connection_termination: true }, {}],
])('counts a refusal by %s', (_, hop, details, status, flags, headers) => {
  expect(refusedBy(details, status, flags, headers)).toBe(hop);
});

test('counts proxied requests only at the listener of the service', () => {
  const byProxy = { downstream_local_address: { socket_address: PROXY } };
  const code = { 'x-meshpass-code': 'agent_policy_refused' };
  expect(refusalOf('via_upstream', 403, byProxy, code)).toBeUndefined();
  expect(refusalOf('via_upstream', 403, {}, code)?.hop).toBe('workload');
});

test('explains a refusal by the proxy itself', () => {
  const byProxy = { downstream_local_address: { socket_address: PROXY } };
  const refusal = refusalOf('direct_response', 403, byProxy, { 'x-meshpass-code': 'agent_service_unknown' });
  expect(refusal).toMatchObject({ hop: 'workspace', reason: 'no grant includes it' });
});

test.each([
  ['edge/payments-dev', "this workspace does not trust the edge's certificate; run meshpass doctor to see why"],
  ['outbound|8080||orders.shop.svc.cluster.local', 'TLS_error:|268435581:SSL_routines:CERTIFICATE_VERIFY_FAILED'],
])('reports a certificate error on the way to %s as: %s', (cluster, reason) => {
  const options = { now: () => 1, report: new RefusalReport(), services: () => [], proxyPort: PROXY.port_value };
  const refusals = new RefusalLog(options);
  const common = {
    response_flags: { upstream_connection_failure: true },
    tls_properties: { tls_sni_hostname: 'outbound_.8080_._.orders.shop.svc.cluster.local' },
    upstream_cluster: cluster,
    upstream_transport_failure_reason: 'TLS_error:|268435581:SSL_routines:CERTIFICATE_VERIFY_FAILED',
  };
  const entry = { common_properties: common };
  refusals.take(
    messageFromJson('envoy.service.accesslog.v3.StreamAccessLogsMessage', { tcp_logs: { log_entry: [entry] } }),
  );
  expect(refusals.last[0]).toMatchObject({ hop: 'edge', what: 'orders.shop.svc.cluster.local:8080', reason });
});
