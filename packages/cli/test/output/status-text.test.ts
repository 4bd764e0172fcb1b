import type { AgentStatus } from '@meshpass/agent/control/status';
import { expect, it } from 'vitest';
import { formatStatus } from '../../src/output/status-text.ts';

const NOW = Date.UTC(2026, 10, 26, 12);
const status: AgentStatus = {
  pid: 1,
  version: '0.1.0',
  readyAfter: 500,
  services: [],
  refusals: [],
  notes: [],
  signIns: [],
  session: {
    id: 'mps_1',
    subject: 'github:1',
    login: 'alice',
    workspace: 'alice-1',
    grants: ['dev'],
    expiresAt: NOW + 3_600_000,
  },
  credentials: { svids: [], identityTokenExpiresAt: NOW + 300_000 },
  broker: { url: 'https://broker.example.com', answeredAt: NOW, failures: {} },
  lease: { by: 'channel', since: NOW - 60_000 },
  envoy: { version: '1.40.0', restarts: 0, listeners: [], clusters: [] },
  configuration: { version: 3, refused: [], rejected: [], leftOut: [] },
  proxy: { host: '127.0.0.1', port: 15_080 },
};
const ENDS = /^An edge is shutting down/m;

it('lists a port once, for any number of grants that have it', () => {
  const orders = {
    host: 'orders.shop.svc.cluster.local',
    port: 8080,
    names: ['orders.shop'],
    protocol: 'http' as const,
    address: '127.64.0.1',
  };
  const services = [
    { ...orders, grant: 'dev', allow: ['GET /orders/*'] },
    { ...orders, grant: 'web', host: 'web.shop.svc.cluster.local', names: ['web.shop'], allow: ['GET /'] },
    { ...orders, grant: 'ops' },
  ];
  expect(
    formatStatus({ ...status, services }, NOW)
      .split('\n')
      .filter((line) => line.includes('http://')),
  ).toEqual([
    '  http://orders.shop:8080  GET /orders/* (grant dev); everything (grant ops)',
    '  http://web.shop:8080  GET /',
  ]);
});

it('reports that an edge is about to end for as long as the edge announces it, and no longer', () => {
  expect(formatStatus(status, NOW)).not.toMatch(ENDS);
  const told = { ...status, draining: { at: NOW, replaced: 1 } };
  expect(formatStatus(told, NOW + 2_000)).toMatch(ENDS);
  expect(formatStatus(told, NOW + 60_000)).not.toMatch(ENDS);
});

it('shows whom to ask for access', () => {
  const contact = '#platform in Slack';
  expect(formatStatus(status, NOW)).toContain('Ask the owner of the access file.');
  expect(formatStatus({ ...status, contact }, NOW)).toContain(`No service is granted yet. Ask ${contact}.`);
  const services = [{ grant: 'dev', host: 'a.b', port: 80, names: ['a.b'], protocol: 'http' as const }];
  expect(formatStatus({ ...status, services, contact }, NOW)).toContain(`For more access, ask ${contact}.`);
});
