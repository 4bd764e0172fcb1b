import { grantSet } from '@meshpass/identity/channel';
import { beforeAll, expect, test } from 'vitest';
import { RefusalReport } from '../../src/access-log/report.ts';
import type { BrokerClient } from '../../src/session/broker-client.ts';
import { CredentialManager } from '../../src/session/credential-manager.ts';
import { type Authority, createAuthority } from '../harness.ts';

/** Seconds. A change that affects all agents is spread over half of it, far longer than a test waits. */
const HEARTBEAT = 3_600;

let authority: Authority;
beforeAll(async () => {
  authority = await createAuthority('mesh');
});

const held = (grant: string, account = 'alice') => ({
  grant,
  spiffe_id: `spiffe://cluster.local/ns/meshpass-${grant}/sa/${account}`,
  until: 4_000_000_000,
});

/** Creates a manager whose broker lists `broker.now` as held grants, starting with the next response. */
async function managerOf(first: readonly ReturnType<typeof held>[]) {
  const asked: string[] = [];
  const broker = { now: first };
  const session = {
    id: 'one',
    grants: first.map(({ grant }) => grant),
    heartbeat_seconds: HEARTBEAT,
  };
  const client = {
    brokerNow: Date.now(),
    openSession: async () => ({ access_token: 'mps', session, mesh: { roots: [] }, services: [] }),
    services: async () => {
      asked.push('services');
      const services = broker.now.map(({ grant }) => ({ grant }));
      const mesh = { roots: [] };
      return { services_version: 'new', mesh, services, held: [...broker.now] };
    },
    certificates: async (_: string, wanted: readonly { grant: string; csr: string }[]) => {
      asked.push(`certificates ${wanted.map(({ grant }) => grant).join(',')}`);
      const certificates = wanted.map(async ({ grant, csr }) => {
        const { spiffe_id } = broker.now.find((one) => one.grant === grant)!;
        const not_after = Math.floor(Date.now() / 1000) + 3_600;
        return { grant, spiffe_id, chain: await authority.sign(csr, spiffe_id, 3_600), not_before: 0, not_after };
      });
      return { certificates: await Promise.all(certificates), roots: [] };
    },
    token: async () => {
      asked.push('token');
      return { access_token: 'a.b.c', expires_in: 86_400 };
    },
    goodbye: async () => {},
    close: () => {},
  };
  const manager = new CredentialManager({
    client: client as unknown as BrokerClient,
    source: { kind: 'file', proof: async () => ({ type: 'oidc', token: 'proof' }) },
    now: Date.now,
    random: () => 0.999,
    onChange: () => {},
    log: () => {},
    report: new RefusalReport(),
    fetchConfiguration: async () => {},
    renewLease: async () => {},
  });
  await manager.start();
  asked.splice(0);
  const hears = (version: string) => {
    const set = grantSet(broker.now.map(({ grant }) => grant));
    const times = { at: 0, lease_expires_at: 0, expires_at: 0 };
    const lease = { kind: 'lease' as const, sid: 'one', seq: 1, ...times, services_version: version, set };
    manager.leaseRenewed('one', lease, 'channel');
  };
  return { manager, broker, asked, hears };
}

test('immediately requests a certificate with its own key and a token for a gained grant', async () => {
  const { manager, broker, asked, hears } = await managerOf([held('dev')]);
  const before = manager.credentials.svids.get('dev');
  broker.now = [held('dev'), held('prod')];
  hears('more');
  await expect.poll(() => [...manager.credentials.svids.keys()]).toEqual(['dev', 'prod']);
  await manager.close();
  expect(asked.sort()).toEqual(['certificates prod', 'services', 'token']);
  expect(manager.credentials.svids.get('dev')).toBe(before);
  expect(manager.credentials.session).toMatchObject({ grants: ['dev', 'prod'], held: broker.now });
});

test('replaces the certificate of a grant that was lost and regained, and removes that of a lost one', async () => {
  const { manager, broker, asked, hears } = await managerOf([held('dev'), held('prod')]);
  broker.now = [held('prod', 'alice-2'), held('new')];
  hears('others');
  await expect.poll(() => [...manager.credentials.svids.keys()].sort()).toEqual(['new', 'prod']);
  await manager.close();
  expect(manager.credentials.svids.get('prod')?.spiffeId).toBe(held('prod', 'alice-2').spiffe_id);
  expect(asked).toContain('certificates prod,new');
});

test('immediately requests a regained grant, even if its loss was not processed yet', async () => {
  const { manager, broker, asked, hears } = await managerOf([held('dev'), held('prod')]);
  broker.now = [held('dev')];
  hears('fewer');
  broker.now = [held('dev'), held('prod', 'alice-2')];
  hears('as many');
  await expect.poll(() => manager.credentials.svids.get('prod')?.spiffeId).toBe(held('prod', 'alice-2').spiffe_id);
  await manager.close();
  expect(asked.sort()).toEqual(['certificates prod', 'services', 'token']);
});
