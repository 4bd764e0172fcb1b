/** An edge with two addresses, the first of which is dead: packets to it are lost. */
import { fileURLToPath } from 'node:url';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';
import { CURL } from './traffic-in-the-mesh.ts';

const EDGE = 'edge.meshpass.test';
/** Unused address in the lab's internet; a resolver that sorts (RFC 6724 rule 9) prefers it to the edge's. */
const DEAD = '203.0.113.9';
const CLUSTERS = 'curl -sS --unix-socket ~/.meshpass/admin.sock http://envoy/clusters';

let lab: Lab;
let dataPath: DataPath;
let hosts: string;
let resolver: string;
let dns: ReturnType<Lab['spawn']>;

beforeAll(async () => {
  lab = await upLab();
  dataPath = await openDataPath();
  hosts = await read('/etc/hosts');
  resolver = await read('/etc/resolv.conf');
  const [alive] = new RegExp(`^\\S+(?= ${EDGE}$)`, 'm').exec(hosts)!;
  // The name is in the name server alone, with the dead address first.
  await write('/etc/hosts', hosts.replace(`${alive} ${EDGE}\n`, ''));
  await write('/etc/resolv.conf', 'nameserver 127.0.0.1\n');
  const script = fileURLToPath(new URL('dns-server.ts', import.meta.url));
  dns = lab.spawn('workspace', ['node', script, EDGE, DEAD, alive]);
  await new Promise((resolve) => dns.stdout?.once('data', resolve));
});
afterAll(async () => {
  await lab?.exec('workspace', ['meshpass', 'down']);
  await write('/etc/hosts', hosts);
  await write('/etc/resolv.conf', resolver);
  dns?.kill();
  await dataPath?.close();
  await lab?.down();
});

it('is reached by the second address, and no call fails or waits for the first', async () => {
  const up = await lab.exec('workspace', ['meshpass', 'up'], { env: await dataPath.environment() });
  expect(up).toMatchObject({ code: 0, stderr: '' });
  // A connection to the dead address alone fails after three seconds, and with it the call.
  const { stdout } = await lab.exec('workspace', [...CURL, 'http://orders.shop:8080/orders/1']);
  expect(stdout).toContain('200');
  const { stdout: clusters } = await lab.exec('workspace', ['sh', '-c', CLUSTERS]);
  expect(clusters).toContain(`::${DEAD}:443::cx_active::`); // by the first address it names the edge
  const status = JSON.parse((await lab.exec('workspace', ['meshpass', 'status', '--output', 'json'])).stdout);
  const edges = status.envoy.clusters.filter(({ name }: { name: string }) => name.startsWith('edge/'));
  expect(edges.some(({ active }: { active: number }) => active > 0)).toBe(true);
  expect(edges.map(({ failed }: { failed: number }) => failed)).toEqual(edges.map(() => 0));
});

async function read(path: string): Promise<string> {
  return (await lab.exec('workspace', ['cat', path])).stdout;
}

async function write(path: string, text: string): Promise<void> {
  await lab.exec('workspace', ['sh', '-c', `printf '%s' "$1" >"$2"`, 'sh', text, path]);
}
