/**
 * Checks the workspace itself: whether Envoy is installed, the hosts file is writable, and the required ports are free.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AgentConfig } from '@meshpass/agent/control/config';
import { findEnvoy } from '@meshpass/agent/envoy/find';
import { mayListenOn } from '@meshpass/agent/xds/low-ports';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failedFinding, ok, skippedFinding, warningFinding } from '../diagnosis/finding.ts';

export type MachineCheck = 'envoy' | 'hosts' | 'ports';

export interface MachineOptions {
  readonly config: AgentConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether an agent is running here, in which case it already uses the ports. */
  readonly isRunning: boolean;
  /** The ports of the granted services, as far as they are known. */
  readonly servicePorts: readonly number[];
}

/** An unused address in 127.64.0.0/10, the range in which the agent listens for services. */
const PROBE = '127.127.255.254';

/** Runs the checks of the workspace, each of which returns one finding. Never throws. */
export async function checkMachine(options: MachineOptions): Promise<readonly Finding<MachineCheck>[]> {
  return [await lookAtEnvoy(options), lookAtHosts(options), await lookAtPorts(options)];
}

async function lookAtEnvoy({ config, env }: MachineOptions): Promise<Finding<MachineCheck>> {
  try {
    const { path, version } = await findEnvoy(config.envoy, env);
    return ok('envoy', `Envoy ${version}.`, path);
  } catch (thrown) {
    return failedFinding('envoy', toMeshpassError(thrown), {
      seen: config.envoy ?? `PATH=${env.PATH ?? ''}`,
      command: 'npm install --global @meshpass/cli',
    });
  }
}

function lookAtHosts({ config }: MachineOptions): Finding<MachineCheck> {
  const { byName, hostsFile } = config;
  if (!byName) return skippedFinding('hosts', 'Names are turned off (--no-by-name).');
  try {
    readFileSync(hostsFile);
  } catch (cause) {
    const error = new MeshpassError('agent_hosts_unwritable', `Cannot read ${hostsFile}.`, { cause });
    return failedFinding('hosts', error, {
      seen: hostsFile,
      next: 'Set MESHPASS_HOSTS_FILE, or pass --no-by-name and use the proxy.',
    });
  }
  if (mayWrite(hostsFile)) return ok('hosts', `${hostsFile} is writable.`, hostsFile);
  if (maySudo()) return ok('hosts', `${hostsFile} is writable with sudo, without a password.`, hostsFile);
  return {
    ...warningFinding(
      'hosts',
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

async function lookAtPorts({ config, isRunning, servicePorts }: MachineOptions): Promise<Finding<MachineCheck>> {
  const { presencePort, proxyPort } = config;
  const wanted = [
    { what: 'presence port', host: '127.0.0.1', port: presencePort, flag: '--presence-port' },
    { what: 'proxy port', host: '127.0.0.1', port: proxyPort, flag: '--proxy-port' },
  ].filter(({ port }) => port !== 0 && !isRunning);
  for (const { what, host, port, flag } of wanted) {
    const code = await listenOn(host, port);
    if (code !== undefined)
      return failedFinding(
        'ports',
        new MeshpassError('config_invalid', `The agent cannot listen on ${what} ${port} (${code}).`),
        {
          seen: `listen on ${host}:${port}`,
          next: `Find the process that uses it, or pass a different port as ${flag}.`,
          command: `ss -ltnp 'sport = :${port}'`,
        },
      );
  }
  const code = await listenOn(PROBE, 0);
  if (code !== undefined)
    return failedFinding(
      'ports',
      new MeshpassError('config_invalid', `The agent cannot listen on addresses in 127.64.0.0/10 (${code}).`),
      {
        seen: `listen on ${PROBE}`,
        next: "This machine's loopback does not cover all of 127.0.0.0/8. Use the proxy: meshpass up --no-by-name.",
      },
    );
  const low = [...new Set(servicePorts)].filter((port) => !mayListenOn(port)).sort((a, b) => a - b);
  if (low.length > 0)
    return warningFinding(
      'ports',
      `This user cannot listen on port ${low.join(', ')}, so services on these ports are reachable only through the proxy.`,
      {
        seen: '/proc/sys/net/ipv4/ip_unprivileged_port_start',
        next: 'Allow it, then restart the agent.',
        command: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=${low[0]} && meshpass down && meshpass up`,
      },
    );
  return ok('ports', 'The agent can listen on every port that it needs.');
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
