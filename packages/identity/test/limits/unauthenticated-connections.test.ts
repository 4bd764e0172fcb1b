/** Sources of connections, and connections of strangers. */
import { expect, test } from 'vitest';
import { sourceGroup, sourceSite } from '../../src/limits/source.ts';
import { createUnauthenticatedConnections } from '../../src/limits/unauthenticated-connections.ts';

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002:0:0:0:9', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['2001:db8:1:2::/64', '2001:db8:1:2::/64'],
  ['unknown', 'unknown'],
  [undefined, 'unknown'],
])('the source of %s is %s', (address, source) => expect(sourceGroup(address)).toBe(source));

test('an IPv6 /64 is one source, and a /48 one network', () => {
  expect(sourceGroup('2001:db8:1:2::5')).toBe('2001:db8:1:2::/64');
  expect(sourceSite(sourceGroup('2001:db8:1:2::5'))).toBe(sourceSite(sourceGroup('2001:db8:1:ffff:1::')));
  expect(sourceSite(sourceGroup('2001:db8:2:2::5'))).not.toBe(sourceSite(sourceGroup('2001:db8:1:2::5')));
  expect(sourceSite(sourceGroup('::ffff:192.0.2.1'))).toBe('192.0.2.1');
});

test('the most crowded network is tracked while connections come and go', () => {
  const ended: string[] = [];
  const strangers = createUnauthenticatedConnections({ strangers: 6, strangersPerSource: 10 });
  const enter = (source: string, name: string) => {
    const stranger = { source, evict: () => ended.push(name) };
    strangers.enter(stranger);
    return stranger;
  };
  const [a1] = ['a1', 'a2', 'a3'].map((name) => enter('192.0.2.1', name));
  for (const name of ['b1', 'b2']) enter('192.0.2.2', name);
  const c1 = enter('2001:db8:1:1::/64', 'c1');
  strangers.leave(a1!);
  strangers.leave(a1!);
  enter('2001:db8:1:2::/64', 'c2');
  enter('2001:db8:1:3::/64', 'c3');
  expect(ended).toEqual(['b1']);
  enter('2001:db8:1:4::/64', 'c4');
  expect(ended).toEqual(['b1', 'c1']);
  strangers.leave(c1);
  expect(strangers.size).toBe(6);
  // Among equally crowded networks, the one that reached its size first loses a connection.
  enter('192.0.2.3', 'd1');
  enter('192.0.2.4', 'e1');
  enter('192.0.2.5', 'f1');
  enter('192.0.2.6', 'g1');
  expect(ended.slice(2)).toEqual(['c2', 'a2', 'c3', 'b2']);
  expect(strangers).toMatchObject({ size: 6, evicted: 6 });
});
