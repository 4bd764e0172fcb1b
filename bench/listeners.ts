/**
 * Costs of a replaced listener in the workspace's Envoy for as long as it drains: memory and file descriptors, by how it changes.
 *   node bench/listeners.ts [updates of each listener] [seconds of the drain time]
 * With less than a minute of drain time it also measures the memory that remains afterwards.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { findEnvoy } from '@meshpass/agent/envoy/find';
import { DRAIN_ARGUMENTS } from '@meshpass/agent/envoy/supervisor';

const UPDATES = Number(process.argv[2] ?? 100);
const DRAIN = process.argv[3];
const LISTENERS = 10;
/** Interval at which Envoy updates its memory statistics: five seconds. */
const FLUSH_MS = 6_000;
const TYPE = 'type.googleapis.com/envoy';
const CHANGES = ['in place', 'as a whole', 'another name'] as const;
type Change = (typeof CHANGES)[number];

const { path: envoy } = await findEnvoy(process.env.MESHPASS_ENVOY, process.env, { module: import.meta.url });
const rows: Record<string, Record<string, string | number>> = {};
for (const change of CHANGES) rows[change] = await measure(change);
console.table(rows);

async function measure(change: Change): Promise<Record<string, string | number>> {
  const directory = mkdtempSync(join(tmpdir(), 'meshpass-listeners-'));
  const admin = join(directory, 'admin.sock');
  const put = (round: number) => {
    const resources = Array.from({ length: LISTENERS }, (_, index) => listener(change, index, round));
    writeFileSync(join(directory, 'new'), JSON.stringify({ version_info: String(round), resources }));
    renameSync(join(directory, 'new'), join(directory, 'listeners.json'));
  };
  put(0);
  const bootstrap = {
    node: { id: 'bench', cluster: 'bench' },
    admin: { address: { pipe: { path: admin } } },
    dynamic_resources: { lds_config: { path_config_source: { path: join(directory, 'listeners.json') } } },
  };
  writeFileSync(join(directory, 'envoy.json'), JSON.stringify(bootstrap));
  const draining = DRAIN === undefined ? DRAIN_ARGUMENTS : [DRAIN_ARGUMENTS[0], DRAIN, ...DRAIN_ARGUMENTS.slice(2)];
  const flags = ['--config-path', join(directory, 'envoy.json'), '--disable-hot-restart', '--concurrency', '1'];
  const child = spawn(envoy, [...flags, '--log-level', 'error', ...draining], { stdio: 'inherit' });
  try {
    const ask = (path: string): Promise<string> =>
      new Promise((resolve, reject) => {
        request({ socketPath: admin, path }, (answer) => text(answer).then(resolve, reject))
          .on('error', reject)
          .end();
      });
    const stat = async (name: string) =>
      Number(new RegExp(`${name}: (\\d+)`).exec(await ask(`/stats?filter=${name}`))?.[1]);
    const updated = async (times: number) => {
      while (!((await stat('listener_manager.lds.update_success').catch(() => 0)) >= times)) await sleep(10);
    };
    const look = async () => {
      await sleep(FLUSH_MS);
      const bytes = await stat('server.memory_allocated');
      return { bytes, descriptors: readdirSync(`/proc/${child.pid}/fd`).length, resident: residentOf(child.pid!) };
    };
    await updated(1);
    const before = await look();
    for (let round = 1; round <= UPDATES; round++) {
      put(round);
      await updated(round + 1);
    }
    const after = await look();
    const replaced = UPDATES * LISTENERS;
    const row = {
      'listeners replaced': replaced,
      'kB each': ((after.bytes - before.bytes) / 1024 / replaced).toFixed(1),
      'descriptors each': ((after.descriptors - before.descriptors) / replaced).toFixed(2),
      'resident MB': `${Math.round(before.resident / 1024)} to ${Math.round(after.resident / 1024)}`,
    };
    if (DRAIN === undefined || Number(DRAIN) > 60) return row;
    await sleep(Number(DRAIN) * 1_000);
    const end = await look();
    return { ...row, 'kB left': Math.round((end.bytes - before.bytes) / 1024), descriptors: end.descriptors };
  } finally {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
}

function residentOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Listener like one of a service: HTTP with a few filters. Its answer contains its number. */
function listener(change: Change, index: number, round: number): object {
  const http = (name: string, type: string, more: object = {}) => ({
    name,
    typed_config: { '@type': `${TYPE}.extensions.filters.http.${type}`, ...more },
  });
  const names = {
    header: { name: 'x-forwarded-host', string_match: { safe_regex: { regex: `orders\\.shop${round}` } } },
  };
  const policies = { foreign: { principals: [{ any: true }], permissions: [names] } };
  const route = { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: `${round}` } } };
  const manager = {
    '@type': `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: `service-${index}`,
    route_config: { virtual_hosts: [{ name: 'service', domains: ['*'], routes: [route] }] },
    http_filters: [
      http('rbac', 'rbac.v3.RBAC', { rules: { action: 'DENY', policies } }),
      http('fault', 'fault.v3.HTTPFault'),
      http('cors', 'cors.v3.Cors'),
      http('router', 'router.v3.Router'),
    ],
  };
  return {
    '@type': `${TYPE}.config.listener.v3.Listener`,
    name: change === 'another name' ? `service-${index}-${round}` : `service-${index}`,
    address: { socket_address: { address: `127.64.9.${index + 1}`, port_value: 18_080 } },
    ...(change === 'as a whole' && { per_connection_buffer_limit_bytes: 32_768 + round }),
    filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }],
  };
}
