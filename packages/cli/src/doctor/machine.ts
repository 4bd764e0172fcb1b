/** What the workspace itself must have: Envoy, a hosts file that can be written, ports that can be listened on. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AgentConfig } from '@meshpass/agent/control/config';
import { findEnvoy } from '@meshpass/agent/envoy/find';
import { mayListenOn } from '@meshpass/agent/xds/low-ports';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failed } from './line.ts';

export type MachineCheck = 'envoy' | 'hosts' | 'ports';

export interface MachineOptions {
  readonly config: AgentConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether an agent runs here, and so has its ports. */
  readonly isRunning: boolean;
  /** Ports of the services that may be called, where they are known. */
  readonly servicePorts: readonly number[];
}

/** Of 127.64.0.0/10, where services listen; no service has it. */
const PROBE = '127.127.255.254';

/** One line for each check. Never throws. */
export async function lookAtMachine(options: MachineOptions): Promise<readonly Finding<MachineCheck>[]> {
  return [await lookAtEnvoy(options), lookAtHosts(options), await lookAtPorts(options)];
}

async function lookAtEnvoy({ config, env }: MachineOptions): Promise<Finding<MachineCheck>> {
  try {
    const { path, version } = await findEnvoy(config.envoy, env);
    return { check: 'envoy', state: 'ok', says: `Envoy ${version}.`, seen: path };
  } catch (thrown) {
    return failed('envoy', toMeshpassError(thrown), {
      seen: config.envoy ?? `PATH=${env.PATH ?? ''}`,
      command: 'npm install --global @meshpass/cli',
    });
  }
}

function lookAtHosts({ config }: MachineOptions): Finding<MachineCheck> {
  const { byName, hostsFile } = config;
  const line = { check: 'hosts', seen: hostsFile } as const;
  if (!byName) return { ...line, state: 'skipped', says: 'Names are switched off (--no-by-name).' };
  try {
    readFileSync(hostsFile);
  } catch (cause) {
    const error = new MeshpassError('agent_hosts_unwritable', `${hostsFile} cannot be read.`, { cause });
    return failed('hosts', error, {
      seen: hostsFile,
      next: 'Set MESHPASS_HOSTS_FILE, or give --no-by-name and use the proxy.',
    });
  }
  if (mayWrite(hostsFile)) return { ...line, state: 'ok', says: `${hostsFile} can be written.` };
  if (maySudo())
    return { ...line, state: 'ok', says: `${hostsFile} can be written with sudo, which asks for no password.` };
  return {
    ...{ ...line, state: 'warning', code: 'agent_hosts_unwritable' },
    says: `${hostsFile} cannot be written, and sudo asks for a password: services have no names here, only the proxy leads to them.`,
    next: 'Use the proxy in each shell, or let this user write the hosts file.',
    command: 'eval "$(meshpass env)"',
  };
}

async function lookAtPorts({ config, isRunning, servicePorts }: MachineOptions): Promise<Finding<MachineCheck>> {
  const { presencePort, proxyPort } = config;
  const wanted = [
    { what: 'of the presence answer', host: '127.0.0.1', port: presencePort, flag: '--presence-port' },
    { what: 'of the proxy', host: '127.0.0.1', port: proxyPort, flag: '--proxy-port' },
  ].filter(({ port }) => port !== 0 && !isRunning);
  for (const { what, host, port, flag } of wanted) {
    const code = await listenOn(host, port);
    if (code !== undefined)
      return failed(
        'ports',
        new MeshpassError('config_invalid', `The port ${what}, ${port}, cannot be listened on (${code}).`),
        {
          seen: `listen on ${host}:${port}`,
          next: `See who has it, or give another one with ${flag}.`,
          command: `ss -ltnp 'sport = :${port}'`,
        },
      );
  }
  const code = await listenOn(PROBE, 0);
  if (code !== undefined)
    return failed(
      'ports',
      new MeshpassError('config_invalid', `Nothing can listen on addresses of 127.64.0.0/10 (${code}).`),
      {
        seen: `listen on ${PROBE}`,
        next: 'The loopback of this machine is not all of 127.0.0.0/8: use the proxy, meshpass up --no-by-name.',
      },
    );
  const low = [...new Set(servicePorts)].filter((port) => !mayListenOn(port)).sort((a, b) => a - b);
  if (low.length > 0)
    return {
      ...{ check: 'ports', state: 'warning', seen: '/proc/sys/net/ipv4/ip_unprivileged_port_start' },
      says: `This user may not listen on port ${low.join(', ')}: services there are reached through the proxy only.`,
      next: 'Allow it, and start the agent anew.',
      command: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=${low[0]} && meshpass down && meshpass up`,
    };
  return { check: 'ports', state: 'ok', says: 'Every port that is needed can be listened on.' };
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

/** @returns why not */
function listenOn(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}
