/** Schedule of configurations among agents of which some never read theirs. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPlaces, type Reader } from '../../src/control/places.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Played extends Reader {
  served: number;
  read: () => void;
  isCut: boolean;
}

function played(sessionId: string, source: string): Played {
  const one: Played = { sessionId, source, served: 0, read: () => {}, isCut: false, cut: () => {} };
  return Object.assign(one, {
    cut: () => {
      one.isCut = true;
      one.read();
    },
  });
}

function edge() {
  const places = createPlaces<Played>(() => Date.now());
  return {
    ask: (one: Played, bytes = 1_000) =>
      places.wait(one, async (began) => {
        one.served++;
        began(bytes);
        await new Promise<void>((resolve) => {
          one.read = resolve;
        });
      }),
  };
}

const many = (count: number, source: (n: number) => string, name = 's') =>
  Array.from({ length: count }, (_, n) => played(`${name}${n}`, source(n)));

describe('slow readers', () => {
  it('of one network leave places for others at once', async () => {
    const { ask } = edge();
    for (const one of many(40, () => '198.51.100.7')) ask(one);
    const honest = played('honest', '203.0.113.9');
    ask(honest);
    expect(honest.served).toBe(1);
  });

  it('of many networks keep the places for two seconds', async () => {
    const { ask } = edge();
    for (const one of many(16, (n) => `198.51.100.${n}`)) ask(one);
    const honest = played('honest', '203.0.113.9');
    ask(honest);
    expect(honest.served).toBe(0);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(honest.served).toBe(1);
  });

  it('that return repeatedly come last', async () => {
    const { ask } = edge();
    const stubborn = many(64, (n) => `198.51.100.${n}`, 'stubborn');
    for (const one of stubborn) ask(one);
    await vi.advanceTimersByTimeAsync(10_000);
    for (const { sessionId, source } of stubborn) ask(played(sessionId, source));
    const honest = many(100, (n) => `203.0.113.${n}`, 'honest');
    for (const one of honest) ask(one);
    for (let n = 0; n < 200; n++) {
      await vi.advanceTimersByTimeAsync(20);
      for (const one of honest) one.read();
    }
    expect(honest.every(({ served }) => served === 1)).toBe(true);
  });

  it('are limited: the network with the most of them loses its oldest one', async () => {
    const { ask } = edge();
    const slowLine = many(3, () => '203.0.113.9', 'slow-line');
    const stubborn = many(60, () => '198.51.100.7', 'stubborn');
    for (const one of [...slowLine, ...stubborn]) ask(one);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(slowLine.some(({ isCut }) => isCut)).toBe(false);
    const alive = stubborn.filter(({ isCut, served }) => served > 0 && !isCut);
    expect(alive).toHaveLength(29);
    expect(stubborn[0]!.isCut).toBe(true);
    expect(stubborn.at(-1)!.isCut).toBe(false);
  });

  it('are limited in bytes', async () => {
    const { ask } = edge();
    const stubborn = many(16, (n) => `198.51.100.${n}`);
    for (const one of stubborn) ask(one, 24 * 1024 * 1024);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(stubborn.filter(({ isCut }) => !isCut)).toHaveLength(2);
  });
});

it('sends a reader only its latest request, one configuration after the other', async () => {
  const { ask } = edge();
  const one = played('one', '203.0.113.9');
  for (let n = 0; n < 5; n++) ask(one);
  expect(one.served).toBe(1);
  one.read();
  await vi.advanceTimersByTimeAsync(0);
  expect(one.served).toBe(2);
  one.read();
  await vi.advanceTimersByTimeAsync(0);
  expect(one.served).toBe(2);
});
