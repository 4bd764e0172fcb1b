/**
 * Checks the workspace itself: whether Envoy is installed, the hosts file is writable, and the required ports are free.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AgentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { findEnvoy } from '@meshpass/agent/envoy/find';
import type { HostEnvironment } from '@meshpass/agent/session/discover';
import { mayListenOn } from '@meshpass/agent/xds/low-ports';
import { MeshpassError } from '@meshpass/identity';
import { type Finding, failed, ok, skipped, warning } from '../diagnosis/finding.ts';

/** An unused address in 127.64.0.0/10, the range in which the agent listens for services. */
const PROBE = '127.127.255.254';

/**
 * Checks that Envoy can be found.
 * @throws MeshpassError if it cannot
 */
export async function checkEnvoy({ envoy }: AgentConfig, env: HostEnvironment['env']): Promise<Finding> {
  const { path, version } = await findEnvoy(envoy, env);
  return ok(`Envoy ${version}.`, path);
}

/** Checks that the hosts file can be written. */
export function checkHosts({ byName, hostsFile }: AgentConfig): Finding {
  if (!byName) return skipped('Names are turned off (--no-by-name).');
  try {
    readFileSync(hostsFile);
  } catch (cause) {
    const error = new MeshpassError('agent_hosts_unwritable', `Cannot read ${hostsFile}.`, { cause });
    return failed(error, {
      seen: hostsFile,
      next: 'Set MESHPASS_HOSTS_FILE, or pass --no-by-name and use the proxy.',
    });
  }
  if (mayWrite(hostsFile)) return ok(`${hostsFile} is writable.`, hostsFile);
  if (maySudo()) return ok(`${hostsFile} is writable with sudo, without a password.`, hostsFile);
  return {
    ...warning(
      `Cannot write ${hostsFile}, and sudo asks for a password. Service names do not resolve here, so services are reachable only through the proxy.`,
      {
        seen: hostsFile,
        next: 'Use the proxy in each shell, or let this user write the hosts file.',
        command: 'eval "$(meshpass env)"',
      },
    ),
    code: 'agent_hosts_unwritable',
  };
}

/**
 * Checks that the agent can listen on the ports that it needs.
 * @param running the status of the agent if it is running here, in which case it already uses the ports
 */
export async function checkPorts(
  { presencePort, proxyPort }: AgentConfig,
  running: AgentStatus | undefined,
): Promise<Finding> {
  const wanted = [
    { what: 'presence port', host: '127.0.0.1', port: presencePort, flag: '--presence-port' },
    { what: 'proxy port', host: '127.0.0.1', port: proxyPort, flag: '--proxy-port' },
  ].filter(({ port }) => port !== 0 && !running);
  for (const { what, host, port, flag } of wanted) {
    const code = await listenOn(host, port);
    if (code !== undefined)
      return failed(new MeshpassError('config_invalid', `The agent cannot listen on ${what} ${port} (${code}).`), {
        seen: `listen on ${host}:${port}`,
        next: `Find the process that uses it, or pass a different port as ${flag}.`,
        command: `ss -ltnp 'sport = :${port}'`,
      });
  }
  const code = await listenOn(PROBE, 0);
  if (code !== undefined)
    return failed(
      new MeshpassError('config_invalid', `The agent cannot listen on addresses in 127.64.0.0/10 (${code}).`),
      {
        seen: `listen on ${PROBE}`,
        next: "This machine's loopback does not cover all of 127.0.0.0/8. Use the proxy: meshpass up --no-by-name.",
      },
    );
  const low = [...new Set(running?.services.map(({ port }) => port))]
    .filter((port) => !mayListenOn(port))
    .sort((a, b) => a - b);
  if (low.length > 0)
    return warning(
      `This user cannot listen on port ${low.join(', ')}, so services on these ports are reachable only through the proxy.`,
      {
        seen: '/proc/sys/net/ipv4/ip_unprivileged_port_start',
        next: 'Allow it, then restart the agent.',
        command: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=${low[0]} && meshpass down && meshpass up`,
      },
    );
  return ok('The agent can listen on every port that it needs.');
}

function mayWrite(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function maySudo(): boolean {
  try {
    execFileSync('sudo', ['-n', 'true'], { stdio: 'ignore', timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

/**
 * Tries to listen on a port.
 * @returns the error code if listening failed
 */
function listenOn(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}
