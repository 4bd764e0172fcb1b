/** The units that are not the mesh's own: sample services, the database, and the stand-ins for GitHub and other issuers. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TUNNEL_FILE } from '../github/start.ts';
import { AMBIENT_NAMESPACE, FORWARDING_DOMAIN, FORWARDING_PORT, type Host, type Plan } from '../plan.ts';
import type { Unit } from '../unit.ts';

const SOURCES = fileURLToPath(new URL('../', import.meta.url));

interface Program {
  readonly name: string;
  readonly host: string;
  readonly script: string;
  readonly args?: readonly string[];
  readonly ready: string;
}

/**
 * @param hosts those of which the units are wanted
 * @param node binary that runs them
 */
export function appUnits(dir: string, hosts: readonly Host[], node: string): Unit[] {
  const programs: Program[] = [
    { name: 'app-orders', host: 'orders', script: 'apps/orders.ts', ready: 'listening on 8080' },
    { name: 'app-web', host: 'web', script: 'apps/web.ts', ready: 'listening on 8080' },
    echo('echo-v1', 'v1'),
    echo('echo-v2', 'v2'),
    echo('staging', 'staging'),
    ambientApp('hello'),
    ambientApp('direct'),
    github(dir),
    issuers(dir),
  ];
  const byName = Object.fromEntries(hosts.map((host) => [host.name, host]));
  const units = programs.filter(({ host }) => host in byName).map((program) => unitOf(dir, byName, node, program));
  return [...units, ...tunnelUnits(dir, hosts, node)];
}

function echo(host: string, version: string): Program {
  return { name: `app-${host}`, host, script: 'apps/echo/main.ts', args: [version], ready: 'listening on 9000' };
}

function ambientApp(host: string): Program {
  const args = [`${host}.${AMBIENT_NAMESPACE}`];
  return { name: `app-${host}`, host, script: 'apps/web.ts', args, ready: 'listening on 8080' };
}

/** Forwarding program of a Codespace, one for each workspace among the hosts. */
function tunnelUnits(dir: string, hosts: readonly Host[], node: string): Unit[] {
  return hosts
    .filter(({ network }) => network === 'internet')
    .map((host) => {
      const args = [join(dir, 'hosts', host.name, TUNNEL_FILE)];
      const name = `port-tunnel-${host.name}`;
      const program = { name, host: host.name, script: 'github/port-tunnel.ts', args, ready: 'listens' };
      return unitOf(dir, { [host.name]: host }, node, program);
    });
}

/** GitHub's API, and on another port its port forwarding. */
function github(dir: string): Program {
  const program = standIn(dir, 'github', 'github/main.ts', 'api.github.test', 443);
  const forwarding = join(dir, 'tls', FORWARDING_DOMAIN);
  // biome-ignore format: one command
  const args = ['--forwarding-listen', `0.0.0.0:${FORWARDING_PORT}`, '--forwarding-tls-cert', `${forwarding}.crt`, '--forwarding-tls-key', `${forwarding}.key`, '--tunnels', join(dir, 'hosts')];
  return { ...program, args: [...(program.args ?? []), ...args] };
}

/** The company's provider and the issuer of GitHub Actions are one program, each on its own port. */
function issuers(dir: string): Program {
  const program = standIn(dir, 'issuers', 'oidc/main.ts', 'idp.test', 8443);
  const actions = join(dir, 'tls/token.actions.test');
  // biome-ignore format: one command
  const args = ['--actions-listen', '0.0.0.0:9443', '--actions-tls-cert', `${actions}.crt`, '--actions-tls-key', `${actions}.key`];
  return { ...program, args: [...(program.args ?? []), ...args] };
}

function standIn(dir: string, name: string, script: string, certificate: string, port: number): Program {
  const file = join(dir, 'tls', certificate);
  const state = join(dir, 'hosts/github', name);
  // biome-ignore format: one command
  const args = ['--listen', `0.0.0.0:${port}`, '--tls-cert', `${file}.crt`, '--tls-key', `${file}.key`, '--state', state];
  return { name, host: 'github', script, args, ready: 'listen' };
}

function unitOf(dir: string, hosts: Plan['hosts'], node: string, program: Program): Unit {
  const cwd = join(dir, 'hosts', program.host, program.name);
  mkdirSync(cwd, { recursive: true });
  return {
    name: program.name,
    host: program.host,
    netns: hosts[program.host]?.netns ?? '',
    argv: [node, join(SOURCES, program.script), ...(program.args ?? [])],
    env: { PATH: process.env.PATH ?? '', HOME: cwd, NODE_EXTRA_CA_CERTS: join(dir, 'tls/ca.crt') },
    cwd,
    ready: { log: program.ready },
  };
}
