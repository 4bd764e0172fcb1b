/** The internet's name server: CoreDNS, with a file of names that the played cloud writes. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FORWARDING_DOMAIN, TEST_NAMES } from '../../plan.ts';
import type { Unit } from '../../unit.ts';
import { type ClusterPlan, INTERNET } from '../plan.ts';

/** @param names those of Services, beside those of the stand-ins */
export function writeInternetNames(dir: string, names: ReadonlyMap<string, string> = new Map()): void {
  const standIns = Object.keys(TEST_NAMES).filter((name) => TEST_NAMES[name] === 'github');
  const lines = [...standIns.map((name) => `${INTERNET.github} ${name}`)];
  for (const [name, address] of names) lines.push(`${address} ${name}`);
  mkdirSync(join(dir, 'internet'), { recursive: true });
  writeFileSync(join(dir, 'internet/names.new'), `${lines.join('\n')}\n`);
  renameSync(join(dir, 'internet/names.new'), namesFile(dir));
}

function namesFile(dir: string): string {
  return join(dir, 'internet/names');
}

/** Writes the configuration. */
export function nameServerUnit(dir: string, plan: ClusterPlan, coredns: string): Unit {
  writeInternetNames(dir);
  const configuration = join(dir, 'internet/Corefile');
  writeFileSync(configuration, corefile(dir));
  return {
    name: 'internet-names',
    host: 'internet',
    netns: plan.switch,
    argv: [coredns, '-conf', configuration],
    env: { PATH: process.env.PATH ?? '', HOME: dir },
    cwd: join(dir, 'internet'),
    ready: { log: 'CoreDNS-' },
  };
}

/** Names of forwarded ports lead to an address of their own, because there, as at GitHub, they are on port 443. */
function corefile(dir: string): string {
  return `.:53 {
  bind ${INTERNET.nameServer}
  errors
  template IN A ${FORWARDING_DOMAIN} {
    answer "{{ .Name }} 5 IN A ${INTERNET.forwarding}"
  }
  hosts ${namesFile(dir)} {
    reload 300ms
    ttl 2
  }
}
`;
}
