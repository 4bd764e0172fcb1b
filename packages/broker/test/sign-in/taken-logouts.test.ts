/** A logout token is taken once: what a broker remembers of that, and when it asks the store. */
import { expect, it } from 'vitest';
import { createTakenLogouts } from '../../src/sign-in/taken-logouts.ts';

const NOW = 1_800_000_000;
const out = (key: string, at = NOW) => ({ at, replay: { key, expiresAt: '' } });

/** A store that has these keys, or that does not answer. */
function open(stored: readonly string[] | undefined) {
  const asked: string[] = [];
  const found = async (key: string) => {
    asked.push(key);
    if (!stored) throw new Error('no answer');
    return stored.includes(key) ? { key } : undefined;
  };
  const where = (_: string, __: string, key: string) => ({ executeTakeFirst: () => found(key) });
  const db = { selectFrom: () => ({ select: () => ({ where }) }) };
  const taken = createTakenLogouts({ store: { db } as never, clock: () => NOW * 1_000, startedAt: NOW - 100 });
  return { ...taken, asked };
}

it('takes each once, and asks no store about what only this broker can have taken', async () => {
  const { claim, asked } = open([]);
  expect([await claim(out('a')), await claim(out('a')), await claim(out('b'))]).toEqual([true, false, true]);
  expect(asked).toEqual([]);
});

it('asks the store about what a broker before it may have taken', async () => {
  const { claim, asked } = open(['a']);
  const of = (key: string) => claim(out(key, NOW - 100));
  expect([await of('a'), await of('b'), await of('b')]).toEqual([false, true, false]);
  expect(asked).toEqual(['a', 'b']);
});

it('takes one where the store does not answer', async () => {
  expect(await open(undefined).claim(out('a', NOW - 100))).toBe(true);
});

it('takes one again that could not be stored, unless it was after all', async () => {
  const stored: string[] = [];
  const { claim, release } = open(stored);
  await claim(out('a'));
  release(out('a'));
  expect(await claim(out('a'))).toBe(true);
  release(out('a'));
  stored.push('a');
  expect(await claim(out('a'))).toBe(false);
});

it('asks the store about what it has forgotten in a flood', async () => {
  const { claim } = open(['first']);
  await claim(out('first'));
  for (let n = 0; n < 10_001; n++) await claim(out(`n${n}`));
  expect(await claim(out('first'))).toBe(false);
});
