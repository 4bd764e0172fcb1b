import type { AgentStatus } from '@meshpass/agent/control/status';
import { expect, it } from 'vitest';
import { statusText } from '../../src/output/status-text.ts';

const NOW = Date.UTC(2026, 10, 26, 12);
const status: AgentStatus = {
  ...{ pid: 1, version: '0.1.0', readyAfter: 500, services: [], refusals: [], notes: [], signIns: [] },
  session: {
    ...{ id: 'mps_1', subject: 'github:1', login: 'alice', workspace: 'alice-1', grants: ['dev'] },
    expiresAt: NOW + 3_600_000,
  },
  credentials: { svids: [], identityTokenExpiresAt: NOW + 300_000 },
  broker: { url: 'https://broker.example.com', answeredAt: NOW, failures: {} },
  lease: { by: 'channel', since: NOW - 60_000 },
  envoy: { version: '1.40.0', restarts: 0, listeners: [], clusters: [] },
  configuration: { version: 3, refused: [], rejected: [], leftOut: [] },
  proxy: { host: '127.0.0.1', port: 15_080 },
};
const ENDS = /^An edge is about to end/m;

it('says that an edge is about to end for as long as it says so, and no longer', () => {
  expect(statusText(status, NOW)).not.toMatch(ENDS);
  const told = { ...status, draining: { at: NOW, replaced: 1 } };
  expect(statusText(told, NOW + 2_000)).toMatch(ENDS);
  expect(statusText(told, NOW + 60_000)).not.toMatch(ENDS);
});
