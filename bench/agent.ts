/**
 * The agent alone: a raw client, the agent as `meshpass up` starts it, and an edge with a workload in one more process.
 * Prints the time from launch to ready and to the first 200, requests a second and latency at 1 and 16 connections, the
 * agent's CPU time for a request, bulk throughput, and resident memory. Its workload speaks HTTP/1.1 only, so that no requests
 * share a connection: `npm run bench -- data-path` measures those.
 *
 *     node bench/agent.ts [seconds for each measurement]
 */
import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, createServer, TLSSocket } from 'node:tls';
import { agentConfig, down, launch } from '@meshpass/agent';
import { createAuthority, service } from '../packages/agent/test/harness.ts';
import { startBroker } from '../packages/agent/test/test-broker.ts';

const TOKEN_PADDING = 800;
const BULK = 400 * 1024 * 1024;
const RESPONSE = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: istio-envoy\r\nx-envoy-upstream-service-time: 1\r\n\r\n${'x'.repeat(100)}`;
const REQUEST =
  'GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\nUser-Agent: bench/1\r\nAccept: */*\r\nContent-Type: application/json\r\n\r\n';

interface Upstream {
  readonly broker: string;
  readonly ca: string;
}

if (process.argv[2] === 'upstream') {
  process.send!(await startUpstream());
} else {
  await main(Number(process.argv[2] ?? 3));
}

async function main(seconds: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-agent-'));
  const upstream = fork(import.meta.filename, ['upstream']);
  const hostsFile = join(directory, 'hosts');
  const runtimeDirectory = join(directory, 'run');
  try {
    const { broker, ca } = await new Promise<Upstream>((resolve) =>
      upstream.once('message', (m) => resolve(m as Upstream)),
    );
    const caFile = join(directory, 'ca.pem');
    writeFileSync(caFile, ca);
    writeFileSync(hostsFile, '');
    const config = agentConfig({ broker, caFile, hostsFile, runtimeDirectory }, {});
    const env = { ...process.env, CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'bench' };

    for (const run of ['first start', 'later start']) {
      const start = performance.now();
      const status = await launch(config, { env });
      const ready = performance.now() - start;
      const first = await requests(status.services[0]!.address!, 1, 0);
      const total = performance.now() - start;
      print(`${run}: launch to ready`, `${ready.toFixed(0)} ms`);
      print(`${run}: launch to first 200`, `${total.toFixed(0)} ms (the call itself ${first.median.toFixed(0)} us)`);
      if (run === 'first start') await down(config);
      else await measure(status.services[0]!.address!, status.pid, seconds);
    }
  } finally {
    await down({ hostsFile, runtimeDirectory });
    upstream.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(address: string, pid: number, seconds: number): Promise<void> {
  print('resident memory before', memory(pid));
  await requests(address, 16, 1);
  for (const connections of [1, 16]) {
    const before = cpu(pid);
    const result = await requests(address, connections, seconds);
    const used = cpu(pid) - before;
    print(
      `${connections} connections`,
      `${result.rate.toFixed(0)} requests/s, median ${result.median.toFixed(0)} us, p99 ${result.p99.toFixed(0)} us, ` +
        `agent ${((used * 1e6) / result.count).toFixed(1)} us CPU a request`,
    );
  }
  print('resident memory after requests', memory(pid));
  const before = cpu(pid);
  const rate = await bulk(address);
  print(
    'bulk download',
    `${rate.toFixed(0)} MB/s, agent ${((cpu(pid) - before) / (BULK / 1e9)).toFixed(2)} s CPU a GB`,
  );
  print('resident memory after bulk', memory(pid));
}

/** Keep-alive connections, one request at a time on each. No seconds: one request. */
async function requests(address: string, connections: number, seconds: number) {
  const latencies: number[] = [];
  const end = performance.now() + seconds * 1000;
  const start = performance.now();
  const request = Buffer.from(REQUEST);
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = await open(address);
      await new Promise<void>((resolve, reject) => {
        let sent = performance.now();
        let got = 0;
        socket.on('data', (chunk) => {
          got += chunk.length;
          if (got < RESPONSE.length) return;
          if (chunk[9] !== 0x32) reject(new Error(chunk.toString()));
          got = 0;
          const now = performance.now();
          latencies.push((now - sent) * 1000);
          if (now >= end) {
            socket.destroy();
            resolve();
          } else {
            sent = now;
            socket.write(request);
          }
        });
        socket.on('error', reject);
        socket.write(request);
      });
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor((latencies.length - 1) * share)]!;
  return { count: latencies.length, rate: latencies.length / elapsed, median: at(0.5), p99: at(0.99) };
}

async function bulk(address: string): Promise<number> {
  const socket = await open(address);
  const start = performance.now();
  let got = 0;
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      got += chunk.length;
      if (got >= BULK) resolve();
    });
    socket.write(REQUEST.replace('/orders/1', '/orders/bulk'));
  });
  socket.destroy();
  return BULK / 1e6 / ((performance.now() - start) / 1000);
}

function open(address: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: 8080, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Edge and workload in one: outer TLS, CONNECT, inner TLS, a fixed answer. */
async function startUpstream(): Promise<Upstream> {
  const [mesh, publicCa] = await Promise.all([createAuthority('mesh'), createAuthority('public')]);
  const workload = await mesh.issue('spiffe://cluster.local/ns/shop/sa/orders');
  const inner = createSecureContext({ ...workload, ca: mesh.root, sessionIdContext: 'bench' });
  const server = createServer(
    { ...(await publicCa.issue('localhost')), ca: mesh.root, requestCert: true, minVersion: 'TLSv1.3' },
    (outer) => {
      outer.setNoDelay(true);
      outer.on('error', () => outer.destroy());
      outer.once('data', () => {
        outer.write('HTTP/1.1 200 OK\r\n\r\n');
        const socket = new TLSSocket(outer, {
          isServer: true,
          secureContext: inner,
          requestCert: true,
          rejectUnauthorized: true,
          ALPNProtocols: ['istio-http/1.1'],
        } as ConstructorParameters<typeof TLSSocket>[1]);
        socket.on('error', () => outer.destroy());
        serve(socket);
      });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as { port: number };
  const broker = await startBroker(await publicCa.issue('localhost'), mesh, { host: 'localhost', port }, [service()]);
  broker.tokenPadding = TOKEN_PADDING;
  return { broker: broker.url, ca: publicCa.root };
}

function serve(socket: TLSSocket): void {
  const response = Buffer.from(RESPONSE);
  const block = Buffer.alloc(65_536, 'x');
  let got = 0;
  socket.on('data', (chunk: Buffer) => {
    if (got === 0 && chunk.includes('/orders/bulk')) {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${BULK}\r\n\r\n`);
      let sent = 0;
      const more = () => {
        while (sent < BULK) {
          sent += block.length;
          if (!socket.write(block)) return void socket.once('drain', more);
        }
      };
      more();
      return;
    }
    got += chunk.length;
    if (chunk.subarray(-4).toString('latin1') !== '\r\n\r\n') return;
    got = 0;
    socket.write(response);
  });
}

/** Seconds of CPU time that a process has used. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function memory(pid: number): string {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const megabytes = (field: string) => Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
  return `${megabytes('VmRSS')} MB (its own ${megabytes('RssAnon')} MB, the rest is the Node binary)`;
}

function print(what: string, result: string): void {
  console.log(`${what.padEnd(36)} ${result}`);
}
