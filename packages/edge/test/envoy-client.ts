/** Real Envoy that plays the workspace: inner TLS, and a CONNECT to the edge with the SNI of that TLS. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Credential } from './mesh-ca.ts';

export interface EnvoyOrder {
  readonly binary: string;
  readonly edgePort: number;
  /** Client certificate of the outer connection. */
  readonly credential: Credential;
  readonly webRoot: string;
  /** Server name of the inner connection. */
  readonly sni: string;
  /** Root that the inner connection trusts. */
  readonly meshRoot: string;
}

export interface EnvoyClient {
  /** Port for plain connections that enter the tunnel. */
  readonly port: number;
  /** Lines of the access log of the inner hop, each an object. */
  accessLog(): readonly Record<string, string>[];
  /** Counters and gauges of the cluster for the edge. */
  stats(): Promise<Readonly<Record<string, number>>>;
  stop(): Promise<void>;
}

const EXTENSIONS = 'type.googleapis.com/envoy.extensions';

/** Starts an Envoy; resolves when its listener is ready. */
export async function startEnvoy(order: EnvoyOrder): Promise<EnvoyClient> {
  const home = mkdtempSync(join(tmpdir(), 'edge-envoy-'));
  const log = join(home, 'access.log');
  const admin = join(home, 'admin.sock');
  writeFileSync(log, '');
  const port = await freePort();
  const config = join(home, 'envoy.json');
  writeFileSync(config, JSON.stringify(bootstrap(order, { port, log, admin })), { mode: 0o600 });
  const child = spawn(
    order.binary,
    ['-c', config, '--use-dynamic-base-id', '--log-level', 'warning', '--concurrency', '1'],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const stats = () => readStats(admin);
  await ready(child, stats);
  return {
    port,
    accessLog: () => {
      const lines = readFileSync(log, 'utf8').split('\n').filter(Boolean);
      return lines.map((line) => JSON.parse(line) as Record<string, string>);
    },
    stats,
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      rmSync(home, { recursive: true });
    },
  };
}

function bootstrap(order: EnvoyOrder, at: { port: number; log: string; admin: string }): object {
  const { credential, sni } = order;
  const inline = (text: string) => ({ inline_string: text });
  const accessLog = {
    name: 'file',
    typed_config: {
      '@type': `${EXTENSIONS}.access_loggers.file.v3.FileAccessLog`,
      path: at.log,
      log_format: {
        json_format: {
          headers: '%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers)%',
          failure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
          flags: '%RESPONSE_FLAGS%',
        },
      },
    },
  };
  const tcpProxy = (more: object) => ({
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: { '@type': `${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 'x', ...more },
  });
  const tls = (common: object, more: object) => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext`,
      common_tls_context: common,
      ...more,
    },
  });
  const tunnel = {
    name: 'tunnel',
    internal_listener: {},
    listener_filters: [
      {
        name: 'envoy.filters.listener.tls_inspector',
        typed_config: { '@type': `${EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector` },
      },
    ],
    filter_chains: [
      {
        filters: [
          tcpProxy({
            cluster: 'edge',
            tunneling_config: { hostname: '%REQUESTED_SERVER_NAME%:15443', propagate_response_headers: true },
            access_log: [accessLog],
          }),
        ],
      },
    ],
  };
  const entry = {
    name: 'entry',
    address: { socket_address: { address: '127.0.0.1', port_value: at.port } },
    filter_chains: [{ filters: [tcpProxy({ cluster: 'service' })] }],
  };
  const endpoint = (name: string, address: object) => ({
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
  });
  const service = {
    name: 'service',
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: endpoint('service', { envoy_internal_address: { server_listener_name: 'tunnel' } }),
    transport_socket: tls({ validation_context: { trusted_ca: inline(order.meshRoot) } }, { sni }),
  };
  const edge = {
    name: 'edge',
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: endpoint('edge', { socket_address: { address: '127.0.0.1', port_value: order.edgePort } }),
    transport_socket: tls(
      {
        tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
        tls_certificates: [{ certificate_chain: inline(credential.cert), private_key: inline(credential.key) }],
        validation_context: {
          trusted_ca: inline(order.webRoot),
          match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'edge.test' } }],
        },
        alpn_protocols: ['http/1.1'],
      },
      { sni: 'edge.test', max_session_keys: 2 },
    ),
  };
  return {
    admin: { address: { pipe: { path: at.admin, mode: 0o600 } } },
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: { '@type': `${EXTENSIONS}.bootstrap.internal_listener.v3.InternalListener` },
      },
    ],
    static_resources: { listeners: [tunnel, entry], clusters: [service, edge] },
  };
}

async function ready(child: ChildProcess, stats: () => Promise<unknown>): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Envoy ended with ${child.exitCode}`);
    try {
      await stats();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/**
 * Reads statistics.
 * @throws while the listeners are not ready
 */
async function readStats(admin: string): Promise<Readonly<Record<string, number>>> {
  const started = await ask(admin, '/ready');
  if (started.trim() !== 'LIVE') throw new Error(`Envoy is ${started}`);
  const lines = (await ask(admin, '/stats?filter=^cluster.edge.')).split('\n').filter((line) => line.includes(': '));
  return Object.fromEntries(
    lines.map((line) => {
      const [name, value] = line.split(': ');
      return [name!.slice('cluster.edge.'.length), Number(value)];
    }),
  );
}

async function ask(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, headers: { host: 'admin' } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => resolve(text));
    });
    asked.on('error', reject);
    asked.end();
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
