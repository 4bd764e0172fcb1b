/** The units that are not the mesh's own: sample services, the database, and the stand-ins for GitHub and other issuers. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plan } from '../plan.ts';
import type { Unit } from '../unit.ts';

const SOURCES = fileURLToPath(new URL('../', import.meta.url));

interface Program {
  readonly name: string;
  readonly host: string;
  readonly script: string;
  readonly args?: readonly string[];
  readonly ready: string;
}

/** @param node binary that runs them */
export function appUnits(dir: string, plan: Plan, node: string): Unit[] {
  const programs: Program[] = [
    { name: 'app-orders', host: 'orders', script: 'apps/orders.ts', ready: 'listening on 8080' },
    { name: 'app-web', host: 'web', script: 'apps/web.ts', ready: 'listening on 8080' },
    standIn(dir, 'github', 'github/main.ts', 'api.github.test', 443),
    issuers(dir),
  ];
  return programs
    .filter(({ script }) => existsSync(join(SOURCES, script)))
    .map((program) => unitOf(dir, plan, node, program));
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

function unitOf(dir: string, plan: Plan, node: string, program: Program): Unit {
  const cwd = join(dir, 'hosts', program.host, program.name);
  mkdirSync(cwd, { recursive: true });
  return {
    name: program.name,
    host: program.host,
    netns: plan.hosts[program.host]?.netns ?? '',
    argv: [node, join(SOURCES, program.script), ...(program.args ?? [])],
    env: { PATH: process.env.PATH ?? '', HOME: cwd, NODE_EXTRA_CA_CERTS: join(dir, 'tls/ca.crt') },
    cwd,
    ready: { log: program.ready },
  };
}
