/** Configuration of istiod that a session gets: on a real istiod, with two grants, through restarts of the session and the broker. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Answer } from '@meshpass/cli/broker/request';
import { checkConfiguration } from '@meshpass/envoy';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, expectRefused, openDataPath, until } from '../mesh.ts';
import { readConfiguration } from './read-configuration.ts';

const SECRET = 'hunter2-of-another-team';
const HEAD = `
trust: { codespaces: { organization: acme } }
grants:
`;
const DEV = `
  dev:
    who: [{ team: acme/payments }]
    to: [{ service: orders.shop, port: 8080, allow: [GET /orders/*] }]
`;
const OPS = `
  ops:
    who: [{ team: acme/payments }]
    to:
      - { service: orders.shop, port: 8080 }
      - { service: ledger-db.shop, port: 5432 }
`;

let dataPath: DataPath;
let folder: string;
let alice: AdversarialClient;
const applied: KubeObject[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-relay-'));
  const accessFile = join(folder, 'access.yaml');
  writeFileSync(accessFile, HEAD + DEV + OPS);
  dataPath = await openDataPath({ accessFile, flags: ['--lease', '3600'] });
  alice = await enrol('alice');
});
afterAll(async () => {
  await dataPath?.close();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const object of applied.splice(0)) await dataPath.lab.kubernetes.remove(object);
});

async function enrol(name: string): Promise<AdversarialClient> {
  const client = dataPath.adversary().as(name);
  const answer = await client.enrol(codespaceProof(await dataPath.codespace()));
  expect(answer.status, answer.text).toBe(200);
  return client;
}

async function apply(object: KubeObject): Promise<void> {
  applied.push(object);
  await dataPath.lab.kubernetes.apply(object);
}

const ask = (client: AdversarialClient, headers: Record<string, string> = {}) =>
  client.speak('GET', '/session/configuration', { headers });

async function configured(
  client: AdversarialClient,
  ok: (seen: ReturnType<typeof readConfiguration>) => boolean = () => true,
) {
  let last = '';
  const seen = await until(
    async () => {
      const answer = await ask(client);
      last = answer.text;
      return answer.status === 200 ? readConfiguration(answer) : undefined;
    },
    (one) => one !== undefined && ok(one),
  ).catch((cause: unknown) => {
    throw new Error(`no such configuration: ${last.slice(0, 500)}`, { cause });
  });
  return seen!;
}

/** Workloads that are connected to istiod: sidecars, the gateway, and the relay's streams. */
async function connected(): Promise<number> {
  const address = dataPath.lab.istiodAddress.replace(/:\d+$/, ':15014');
  const text = await (await fetch(`http://${address}/metrics`)).text();
  return [...text.matchAll(/^pilot_xds\{[^}]*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

function virtualService(spec: object): KubeObject {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'relayed', namespace: 'shop' },
    spec: { hosts: ['orders.shop.svc.cluster.local'], ...spec },
  };
}
const to = (host: string) => [{ destination: { host, port: { number: 8080 } } }];
const ORDERS = 'orders.shop.svc.cluster.local';
/** Objects of earlier tests are gone from it. */
const isPlain = ({ text }: ReturnType<typeof readConfiguration>) => !text.includes('virtual-service');

/** The listener and the cluster of the first grant have one name. */
const listensFor =
  (grant: string) =>
  ({ names }: ReturnType<typeof readConfiguration>) =>
    names.filter((name) => name.startsWith(`${grant}/shared/`)).length === 2;

describe('a session of two grants', () => {
  it('gets the parts of both, and its agent accepts them', async () => {
    const { configuration, names } = await configured(alice);
    const expected = {
      trustDomain: 'cluster.local',
      clusterDomain: 'cluster.local',
      tokenHeader: 'x-meshpass-token',
      grants: ['dev', 'ops'],
    };
    expect(checkConfiguration(configuration, expected)).toEqual([]);
    expect(names.filter((name) => /^dev\/shared\/127[0-9.]+_8080$/.test(name))).toHaveLength(2);
    expect(names).toEqual(
      expect.arrayContaining([
        ...['dev', 'ops'].map((grant) => `${grant}/outbound|8080||${ORDERS}`),
        'ops/outbound|5432||ledger-db.shop.svc.cluster.local',
      ]),
    );
  });

  it('gets a VirtualService as soon as istiod has it, under a later version', async () => {
    const before = await configured(alice);
    await apply(
      virtualService({
        http: [{ fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }, route: to(ORDERS) }],
      }),
    );
    const after = await configured(alice, ({ text }) => text.includes('418'));
    expect(after.version).toBeGreaterThan(before.version);
  });

  it('is refused at a route that leads out of its grants, by the name of the rule', async () => {
    await apply(virtualService({ http: [{ route: to('web.dev.svc.cluster.local') }] }));
    const { text } = await configured(alice, (one) => one.text.includes('agent_route_not_granted'));
    expect(text).toContain('VirtualService shop/relayed leads to web.dev.svc.cluster.local:8080');
    expect(text).not.toContain('outbound|8080||web.dev');
  });
});

describe('configuration that is not for a workspace', () => {
  it('is in no answer: other services, addresses of the cluster, root policies, EnvoyFilters of others', async () => {
    await apply({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'root-secret', namespace: 'istio-system' },
      spec: { action: 'DENY', rules: [{ to: [{ operation: { paths: [`/${SECRET}`] } }] }] },
    });
    const lua = {
      name: 'team.lua',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua',
        default_source_code: { inline_string: `-- ${SECRET}` },
      },
    };
    const patch = (applyTo: string, operation: string, value: object) => ({
      applyTo,
      match: { context: 'SIDECAR_OUTBOUND' },
      patch: { operation, value },
    });
    const metadata = { filter_metadata: { team: { password: SECRET } } };
    await apply({
      apiVersion: 'networking.istio.io/v1alpha3',
      kind: 'EnvoyFilter',
      metadata: { name: 'global-secret', namespace: 'istio-system' },
      spec: {
        configPatches: [
          {
            ...patch('HTTP_FILTER', 'INSERT_FIRST', lua),
            match: {
              context: 'SIDECAR_OUTBOUND',
              listener: { filterChain: { filter: { name: 'envoy.filters.network.http_connection_manager' } } },
            },
          },
          patch('CLUSTER', 'MERGE', { metadata }),
          patch('VIRTUAL_HOST', 'MERGE', { metadata }),
          patch('LISTENER', 'MERGE', { metadata }),
        ],
      },
    });
    const seen = await configured(
      alice,
      ({ left_out, text }) => !text.includes('not_granted') && left_out.some(({ what }) => what.includes('Lua')),
    );
    const { hosts } = dataPath.lab;
    const addresses = Object.values(hosts).map(({ ip }) => ip);
    for (const hidden of [...addresses, '10.96.', SECRET, 'web.dev', 'invoices', 'istio-system'])
      expect(seen.bytes.includes(hidden), hidden).toBe(false);
    const metrics = await (await fetch(`${dataPath.meshpass.operatorUrl}/metrics`)).text();
    expect(metrics).toMatch(/meshpass_configuration_left_out\{type="[^"]*lua\.v3\.Lua"\} [1-9]/);
  });

  it("is another session's: its token without its key gets nothing", async () => {
    const thief = dataPath.adversary('workspace-2').as('thief');
    const { sessionToken } = await alice.show();
    await thief.take({ sessionToken });
    await expectRefused(dataPath, await ask(thief), {
      status: 401,
      error: 'invalid_dpop_proof',
      code: 'dpop_key_mismatch',
      action: 'configuration.read',
    });
  });

  it('cannot be requested: no text of the request reaches istiod', async () => {
    const { version } = await configured(alice);
    const answers = await Promise.all([
      alice.speak('GET', '/session/configuration?grant=ops&type=debug&node=router'),
      alice.speak('GET', '/session/configuration', {
        headers: { 'x-node': 'router~1.2.3.4~gateway', prefer: 'wait=1e9' },
      }),
      alice.speak('POST', '/session/configuration', { json: { node: { id: 'router' } } }),
    ]);
    const [query] = answers;
    // A query is neither signed nor read.
    expect(query!.status === 200 ? readConfiguration(query!).version : query!.status).toSatisfy((seen) =>
      [version, 401].includes(seen),
    );
    expect(readConfiguration(answers[1]!).version).toBe(version);
    expect(answers[2]).toMatchObject({ status: 404 });
  });

  it('is no way to exhaust the broker: huge headers and floods are bounded', async () => {
    const { version } = await configured(alice);
    const huge = await ask(alice, { prefer: `wait=${'1'.repeat(60_000)}` }).catch(() => ({ status: 431 }));
    expect(huge.status).toBe(431);
    const waiting = { prefer: 'wait=3' };
    const status = (answer: Promise<Answer>) =>
      answer.then(
        (one) => one.status,
        () => 'closed',
      );
    const flood = await Promise.all(Array.from({ length: 100 }, () => status(ask(alice, waiting))));
    // Streams beyond a session's limit are closed. Beyond two answers at once, the broker refuses.
    for (const one of flood) expect([200, 503, 'closed']).toContain(one);
    expect((await configured(alice)).version).toBeGreaterThanOrEqual(version);
  });
});

describe('istiod', () => {
  it('is given another order of the grants in the access file, and the former one again, each under a later version', async () => {
    const versions = [(await configured(alice, listensFor('dev'))).version];
    for (const [grants, first] of [
      [OPS + DEV, 'ops'],
      [DEV + OPS, 'dev'],
    ] as const) {
      writeFileSync(dataPath.meshpass.accessFile, HEAD + grants);
      versions.push((await configured(alice, listensFor(first))).version);
    }
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
  });

  it('has one stream for each grant, however many sessions', async () => {
    await configured(alice);
    const before = await connected();
    const others: AdversarialClient[] = [];
    while (others.length < 50)
      others.push(
        ...(await Promise.all(Array.from({ length: 5 }, (_, one) => enrol(`holder ${others.length + one}`)))),
      );
    const versions = await Promise.all(others.map(async (one) => (await configured(one)).version));
    expect(new Set(versions).size).toBe(1);
    expect(await connected()).toBe(before);
    const metrics = await (await fetch(`${dataPath.meshpass.operatorUrl}/metrics`)).text();
    expect(metrics).toMatch(/^meshpass_configuration_streams 2$/m);
    await Promise.all(others.map((one) => one.speak('DELETE', '/session')));
  }, 300_000);

  it('may be killed: the configuration stays, and converges when it is back', async () => {
    const before = await configured(alice, isPlain);
    await dataPath.lab.kill('istiod');
    expect(readConfiguration(await ask(alice)).version).toBe(before.version);
    await apply(virtualService({ http: [{ match: [{ uri: { prefix: '/after-istiod' } }], route: to(ORDERS) }] }));
    expect(readConfiguration(await ask(alice)).version).toBe(before.version);
    await dataPath.lab.restart('istiod');
    const after = await configured(alice, ({ text }) => text.includes('/after-istiod'));
    expect(after.version).toBeGreaterThan(before.version);
  }, 120_000);
});

describe('the broker', () => {
  it('may be killed: equal content keeps its digest, and no version is given again', async () => {
    const before = await configured(alice, isPlain);
    await dataPath.lab.kill('meshpass');
    await dataPath.lab.restart('meshpass');
    await until(
      () => alice.renew(),
      ({ kind }) => kind === 'lease',
    );
    const same = await configured(alice);
    expect(same.digest).toBe(before.digest);
    expect(same.version).toBeGreaterThan(before.version);
    await apply(virtualService({ http: [{ match: [{ uri: { prefix: '/after-broker' } }], route: to(ORDERS) }] }));
    const after = await configured(alice, ({ text }) => text.includes('/after-broker'));
    expect(after.version).toBeGreaterThan(same.version);
  }, 120_000);

  it('keeps the token of the relay to itself', async () => {
    const { items } = (await dataPath.lab.kubernetes.call(
      'GET',
      '/api/v1/namespaces/meshpass-dev/serviceaccounts',
    )) as {
      items: { metadata: { name: string } }[];
    };
    expect(items.map(({ metadata }) => metadata.name)).toContain('meshpass-relay');
    // In base64url, a JWT begins with the brace of its header.
    expect(dataPath.meshpass.log()).not.toMatch(/eyJ[\w-]{20,}\.[\w-]{20,}\./);
  });
});
