/** Order, dependencies and failures of the checks of a diagnosis. */

import { MeshpassError, terminalText } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { exitCodeFor, type Finding, ok, skipped, warning } from '../../src/diagnosis/finding.ts';
import { findingsOutput } from '../../src/diagnosis/print.ts';
import { type Check, diagnose } from '../../src/diagnosis/run.ts';

const fine = (name: string, ...needs: string[]): Check => ({ names: [name], needs, run: () => [ok('Fine.')] });
const broken = (name: string, code: 'config_invalid' | 'agent_broker_unreachable' = 'config_invalid'): Check => ({
  names: [name],
  run: () => Promise.reject(new MeshpassError(code, 'Broken.')),
  onError: { seen: 'a file' },
});
const states = (findings: readonly Finding[]) => findings.map(({ check, state }) => `${check} ${state}`);

describe.each([1, 4])('with %i at a time', (concurrency) => {
  it('reports in the order of the checks, whichever ends first', async () => {
    const slow: Check = {
      names: ['slow'],
      run: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        return [ok('Fine.')];
      },
    };
    expect(states(await diagnose([slow, fine('fast'), fine('last', 'slow')], concurrency))).toEqual([
      'slow ok',
      'fast ok',
      'last ok',
    ]);
  });

  it('skips each check that needs a failed one, even over several steps, with all of its names', async () => {
    const both: Check = { names: ['c', 'd'], needs: ['b'], run: () => [] };
    expect(states(await diagnose([broken('a'), fine('b', 'a'), both, fine('e')], concurrency))).toEqual([
      'a failed',
      'b skipped',
      'c skipped',
      'd skipped',
      'e ok',
    ]);
  });
});

it('does not skip a check that needs one with a warning, or one with nothing to examine', async () => {
  const checks: Check[] = [
    { names: ['a'], run: () => [warning('Slow.')] },
    { names: ['b'], run: () => [skipped('Give --b.')] },
    fine('c', 'a', 'b'),
  ];
  expect(states(await diagnose(checks))).toEqual(['a warning', 'b skipped', 'c ok']);
});

it('runs no more checks at a time than its limit', async () => {
  let [now, most] = [0, 0];
  const check = (name: string): Check => ({
    names: [name],
    run: async () => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
      return [];
    },
  });
  await diagnose([...'abcdef'].map(check), 3);
  expect(most).toBe(3);
});

it('names a finding after its check, unless the finding has a name', async () => {
  const run = () => [ok('Fine.'), { check: 'b', ...ok('Fine too.') }];
  expect(states(await diagnose([{ names: ['a', 'b'], run }]))).toEqual(['a ok', 'b ok']);
});

it('ends with 3 if the first failure may be temporary, and with 1 otherwise', async () => {
  expect(exitCodeFor(await diagnose([broken('a', 'agent_broker_unreachable'), broken('b')]))).toBe(3);
  expect(exitCodeFor(await diagnose([broken('b'), broken('a', 'agent_broker_unreachable')]))).toBe(1);
  expect(exitCodeFor([{ check: 'a', state: 'unknown', says: 'Nobody knows.' }])).toBe(4);
  expect(exitCodeFor([warning('Slow.')])).toBe(0);
});

it('prints the evidence of problems, without control characters', async () => {
  const text = terminalText(
    findingsOutput([
      { check: 'a', ...ok('Fine.', 'a file') },
      { check: 'bcd', ...warning('Slow\u001b[2J.', { seen: 'a\nline' }) },
    ]).text() as string[],
  );
  expect(text).toBe('ok      a:   Fine.\nwarning bcd: Slow\ufffd[2J.\n        seen: a\ufffdline');
});
