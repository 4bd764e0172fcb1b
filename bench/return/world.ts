/** World of bench/return/bench.ts: a lab with Meshpass and a durable store, developers, and their workspaces. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '@meshpass/lab';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type Meshpass, startMeshpass } from '@meshpass/lab/meshpass';
import { type OrderedProcess, startOrdered } from '@meshpass/lab/ordered-process';
import { type StandIns, standIns } from '@meshpass/lab/stand-ins';
import { startPostgres, type TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import type { Arrival, Group, Order } from './agents.ts';

export interface World {
  readonly lab: Lab;
  readonly players: StandIns;
  readonly meshpass: Meshpass;
  readonly workspaces: OrderedProcess<Order>;
  /** Process of its own, so that a new developer does not wait here for ten thousand others. */
  readonly newcomers: OrderedProcess<Order>;
  readonly arrivals: readonly Arrival[];
  readonly newcomerProofs: readonly Arrival['proof'][];
  readonly close: () => Promise<void>;
}

export interface Terms {
  readonly sessions: number;
  /** Number of workspaces whose SVIDs outlast the outage. */
  readonly staying: number;
  readonly newcomers: number;
  /** Life of the SVIDs of those that return, seconds; of those that stay it is twice that. */
  readonly ttlSeconds: number;
}

/** Developers, each with several Codespaces: a developer's teams are asked once for all of them. */
const MAX_DEVELOPERS = 500;
/** Workspaces behind one address, as behind a NAT. */
const PER_ADDRESS = 80;
const REPOSITORIES: Readonly<Record<Group, string>> = { returning: 'acme/payments-api', staying: 'acme/orders' };
const HOST = 'workspace';
const HOST_OF_NEWCOMERS = 'workspace-2';

export async function openWorld(lab: Lab, { sessions, staying, newcomers, ttlSeconds }: Terms): Promise<World> {
  const players = standIns(lab);
  await players.github.reset();
  const logins = Array.from({ length: Math.min(MAX_DEVELOPERS, sessions) }, (_, n) => `dev-${n}`);
  const newLogins = Array.from({ length: newcomers }, (_, n) => `new-${n}`);
  for (const login of [...logins, ...newLogins]) {
    await players.github.createUser({ login, memberOf: 'acme' });
    await players.github.addToTeam('acme/payments', login);
  }
  const group = (n: number): Group => (n < staying ? 'staying' : 'returning');
  const spaces = await players.github.createCodespaces(
    Array.from({ length: sessions }, (_, n) => ({
      owner: logins[n % logins.length]!,
      repository: REPOSITORIES[group(n)],
      host: HOST,
    })),
  );
  const newSpaces = await players.github.createCodespaces(
    newLogins.map((owner) => ({ owner, repository: REPOSITORIES.returning, host: HOST_OF_NEWCOMERS })),
  );
  const addresses = await addAddresses(lab, Math.ceil(sessions / PER_ADDRESS));
  const accessFile = join(lab.dir, 'return-access.yaml');
  writeFileSync(accessFile, access(ttlSeconds));
  const postgres: TestPostgres = startPostgres();
  try {
    const flags = ['--database-url', postgres.url];
    const meshpass = await startMeshpass(lab, { accessFile, edgeApart: true, flags, ...profiled() });
    const workspaces = startOrdered<Order>(lab, HOST, new URL('./agents.ts', import.meta.url), 'the workspaces');
    const others = startOrdered<Order>(
      lab,
      HOST_OF_NEWCOMERS,
      new URL('./agents.ts', import.meta.url),
      'the newcomers',
    );
    return {
      lab,
      players,
      meshpass,
      workspaces,
      newcomers: others,
      newcomerProofs: newSpaces.map(proofOf),
      arrivals: spaces.map((space, n) => ({
        proof: proofOf(space),
        group: group(n),
        from: addresses[n % addresses.length]!,
      })),
      close: async () => {
        workspaces.kill();
        others.kill();
        await meshpass.stop();
        postgres.stop();
      },
    };
  } catch (thrown) {
    postgres.stop();
    throw thrown;
  }
}

/** Writes a CPU profile of the last broker to DIR if PROFILE=DIR is set. */
function profiled() {
  const dir = process.env.PROFILE;
  const meshpass = fileURLToPath(new URL('../../node_modules/.bin/meshpass', import.meta.url));
  return dir === undefined ? {} : { command: [process.execPath, '--cpu-prof', `--cpu-prof-dir=${dir}`, meshpass] };
}

function proofOf({ token, name }: StartedCodespace): Arrival['proof'] {
  return { type: 'github-codespace', token, codespaceName: name };
}

function access(ttlSeconds: number): string {
  const grant = (name: string, repository: string, ttl: number) => `  ${name}:
    who:
      - { team: acme/payments, repository: ${repository} }
    to:
      - { service: orders.shop, port: 8080, allow: [GET /orders/*] }
    ttl: ${ttl}s
`;
  return `trust:
  codespaces: { organization: acme }
grants:
${grant('payments-dev', 'acme/payments-*', ttlSeconds)}${grant('orders-dev', REPOSITORIES.staying, ttlSeconds * 2)}`;
}

/** More addresses of the workspaces' host, above those of the lab's hosts: no source has ten thousand Codespaces. */
async function addAddresses(lab: Lab, count: number): Promise<readonly string[]> {
  const own = lab.hosts[HOST]!.ip;
  const shown = await lab.exec(HOST, ['ip', '-json', 'address', 'show']);
  const links = JSON.parse(shown.stdout) as { ifname: string; addr_info: { local: string }[] }[];
  const link = links.find(({ addr_info }) => addr_info.some(({ local }) => local === own))!;
  const addresses = Array.from({ length: count }, (_, n) => `203.0.113.${100 + n}`);
  for (const address of addresses) {
    if (link.addr_info.some(({ local }) => local === address)) continue;
    await lab.exec(HOST, ['ip', 'address', 'add', `${address}/24`, 'dev', link.ifname]);
  }
  return addresses;
}
