import { VERSION } from '@meshpass/identity';
import type { EdgeDecision } from '@meshpass/identity/channel';
import { expect, test } from 'vitest';
import { createDecisionReporter } from '../src/broker/reporter.ts';
import { formatStats } from '../src/stats.ts';

test('limits the decisions of strangers, reports all of live sessions, and sums up suppressed ones', () => {
  let now = 0;
  const out: EdgeDecision[] = [];
  const reporter = createDecisionReporter(
    (decision) => out.push(decision),
    2,
    () => now,
  );
  const decision = (source: string): EdgeDecision => ({
    id: source,
    at: now,
    outcome: 'refused',
    code: 'tunnel_certificate_missing',
    reason: 'no',
    source,
  });
  for (let n = 0; n < 5; n++) reporter.report(decision(`stranger-${n}`), false);
  reporter.report(decision('alice'), true);
  expect(out.map((one) => one.source)).toEqual(['stranger-0', 'stranger-1', 'alice']);
  now = 1_000;
  reporter.sweep(now);
  expect(out.at(-1)).toMatchObject({ source: 'many', code: 'tunnel_certificate_missing' });
  expect(out.at(-1)!.reason).toMatch(/^3 more /);
  reporter.report(decision('stranger-5'), false);
  expect(out.at(-1)!.source).toBe('stranger-5');
});

test('formats counters for Prometheus', () => {
  const text = formatStats({
    connections: 3,
    strangers: 3,
    evicted: 9,
    warm: 2,
    tunnels: 1,
    control: 3,
    sessions: 4,
    draining: true,
    directory: 'stale',
    silentMs: 1500,
    accepted: 5,
    handshakes: 5,
    resumed: 1,
    allowed: 2,
    ended: 1,
    refused: { tunnel_limit: 7 },
    bytesIn: 10,
    bytesOut: 20,
    certificate: { notBefore: 1_700_000_000, notAfter: 1_800_000_000 },
  });
  expect(text).toContain(`meshpass_build_info{component="edge",version="${VERSION}"} 1\n`);
  expect(text).toContain('# TYPE meshpass_edge_tunnels gauge\nmeshpass_edge_tunnels 1\n');
  expect(text).toContain('meshpass_edge_directory_fresh 0\n');
  expect(text).toContain('meshpass_tls_certificate_not_after_timestamp_seconds{component="edge"} 1800000000\n');
  expect(text).toContain('meshpass_edge_draining 1\n');
  expect(text).toContain('meshpass_edge_broker_silent_seconds 1.5\n');
  expect(text).toContain('meshpass_edge_refused_total{code="tunnel_limit"} 7\n');
});
