/** Which tests may be skipped. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { skipReason } from './skips.ts';

const UPGRADE = 'test/chart/upgrade.cluster.test.ts';

it('allows the listed tests, by file and full name', () => {
  const name = 'needs the commit of the version before in this clone';
  expect(skipReason(UPGRADE, name, {})).toBe('a shallow clone lacks it');
  expect(skipReason(UPGRADE, 'another test', {})).toBeUndefined();
  expect(skipReason('test/docs/a.test.ts', name, {})).toBeUndefined();
  expect(readFileSync(UPGRADE, 'utf8')).toContain(name);
});

it('allows the tests of ambient mode if there is no ztunnel', () => {
  const file = 'test/policy/ambient/a.ambient.test.ts';
  expect(skipReason(file, 'round 1', {})).toBe('MESHPASS_ZTUNNEL names no ztunnel');
  expect(skipReason(file, 'round 1', { MESHPASS_ZTUNNEL: '/ztunnel' })).toBeUndefined();
});
