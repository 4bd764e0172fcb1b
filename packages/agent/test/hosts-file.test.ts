import { linkSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { removeHostsBlock, replaceHostsBlock, writeHostsBlock } from '../src/hosts/hosts-file.ts';
import { LoopbackNames } from '../src/hosts/loopback-names.ts';
import { service } from './harness.ts';

const BASE = '127.0.0.1 localhost\n::1 ip6-localhost\n';
const ENTRIES = [{ address: '127.83.4.5', names: ['orders.shop.svc.cluster.local', 'orders.shop'] }];

function file(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'hosts-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'hosts');
  writeFileSync(path, text);
  return path;
}

describe('the block', () => {
  test('is added, replaced and removed without other changes', () => {
    const once = replaceHostsBlock(BASE, ENTRIES);
    expect(once).toBe(
      `${BASE}# meshpass begin (written by meshpass up, removed by meshpass down)\n` +
        '127.83.4.5 orders.shop.svc.cluster.local orders.shop\n# meshpass end\n',
    );
    expect(replaceHostsBlock(`${once}10.0.0.1 later\n`, ENTRIES)).toBe(
      `${BASE}10.0.0.1 later\n${once.slice(BASE.length)}`,
    );
    expect(replaceHostsBlock(once, [])).toBe(BASE);
  });

  test('is removed after a crash at any byte of a write', () => {
    const whole = replaceHostsBlock(BASE, ENTRIES);
    for (let length = BASE.length + '# meshpass begin'.length; length <= whole.length; length++) {
      const cleaned = removeHostsBlock(whole.slice(0, length));
      expect(cleaned.startsWith(BASE)).toBe(true);
      const lines = cleaned.slice(BASE.length).split('\n').filter(Boolean);
      expect(lines.filter((line) => !line.startsWith('#') && line.includes('shop'))).toEqual([]);
    }
  });

  test.each(['orders.shop\n127.0.0.1 github.com', 'orders shop', 'localhost', 'ORDERS.shop', '-a.b', ''])(
    'refuses the name %j',
    (name) => {
      expect(() => replaceHostsBlock(BASE, [{ address: '127.83.4.5', names: [name] }])).toThrow(
        expect.objectContaining({ code: 'config_invalid' }),
      );
    },
  );

  test('refuses an address that is not loopback', () => {
    expect(() => replaceHostsBlock(BASE, [{ address: '10.0.0.1', names: ['a.b'] }])).toThrow(
      /not valid in a hosts file/,
    );
  });
});

describe('the file', () => {
  test('is written in place with the same inode, as a bind mount requires', () => {
    const path = file(BASE);
    linkSync(path, `${path}.other`);
    const before = statSync(path).ino;
    writeHostsBlock(path, ENTRIES, { sudo: false });
    expect(statSync(path).ino).toBe(before);
    expect(readFileSync(`${path}.other`, 'utf8')).toContain('127.83.4.5');
    writeHostsBlock(path, [], { sudo: false });
    expect(readFileSync(path, 'utf8')).toBe(BASE);
  });

  test('is written despite a lock left behind by a crash', () => {
    const path = file(BASE);
    writeFileSync(`${path}.meshpass-lock`, '');
    const old = new Date(Date.now() - 60_000);
    utimesSync(`${path}.meshpass-lock`, old, old);
    writeHostsBlock(path, ENTRIES, { sudo: false });
    expect(readFileSync(path, 'utf8')).toContain('orders.shop');
  });

  test('is reported with an alternative if it does not exist', () => {
    expect(() => writeHostsBlock('/nonexistent/hosts', ENTRIES, { sudo: false })).toThrow(
      expect.objectContaining({ code: 'agent_hosts_unwritable', message: expect.stringContaining('meshpass env') }),
    );
  });
});

test('does not restore removed names when a draining Envoy reports its listeners', () => {
  const path = file(BASE);
  const names = new LoopbackNames(path, () => true);
  const orders = service();
  const listening = new Set([`${orders.address}:${orders.port}`]);
  names.write([orders], listening);
  expect(readFileSync(path, 'utf8')).toContain('orders.shop');
  names.remove();
  names.write([orders], listening);
  expect(readFileSync(path, 'utf8')).toBe(BASE);
  expect(names.isNamed(orders.address!)).toBe(false);
});
