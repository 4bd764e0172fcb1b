import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { inheritsCapability, mayListenOn } from '../../src/xds/low-ports.ts';

it('allows ports that require no privilege', () => {
  expect(mayListenOn(1024)).toBe(true);
  expect(mayListenOn(8080)).toBe(true);
});

it.each([
  ['root with it', '400', '0', true, true],
  ['root without it, as in some containers', 'fffffbff', '0', true, false],
  ['a user whose children inherit it', '400', '400', false, true],
  ['a user whose node binary has it through setcap', '400', '0', false, false],
  ['a user without it', '0', '0', false, false],
])('evaluates the privilege of %s as Envoy inherits it', (_, effective, ambient, byRoot, may) => {
  const padded = (set: string) => set.padStart(16, '0');
  expect(
    inheritsCapability(`Uid:\t1\nCapEff:\t${padded(effective)}\nCapBnd:\t0\nCapAmb:\t${padded(ambient)}\n`, byRoot),
  ).toBe(may);
});

it('agrees with the system for an unprivileged user', async () => {
  const file = fileURLToPath(new URL('../../src/xds/low-ports.ts', import.meta.url));
  const program = `
    const { mayListenOn } = await import(${JSON.stringify(file)});
    process.setgroups?.([]); process.setgid?.(65534); process.setuid?.(65534);
    const { createServer } = await import('node:net');
    const server = createServer().once('error', () => done(false)).listen(81, '127.64.99.1', () => done(true));
    function done(listens) { process.stdout.write(JSON.stringify([mayListenOn(81), listens])); process.exit(); }
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  const [may, does] = JSON.parse(stdout) as [boolean, boolean];
  expect(may).toBe(does);
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  expect(may).toBe(first <= 81);
});
