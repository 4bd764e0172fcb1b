/** Classes of texts: complete for small tests, and cheap or refused for large ones. */
import { describe, expect, test } from 'vitest';
import { classifyTexts } from '../../src/diff/formula/text-classes.ts';
import { type Piece, passesTest, type TextDomain, type TextTest } from '../../src/diff/formula/text-test.ts';

const DOMAIN: TextDomain = { start: '/', alphabet: 'xy', optional: false };
const TEMPLATE: TextTest = {
  form: 'pattern',
  pieces: [{ text: '/a/' }, { any: 'segment' }, { text: '/b' }, { any: 'rest' }],
};

/** Numbers that look random and are the same in each run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor(state / 65536) % below;
  };
}

function randomTests(next: (below: number) => number): readonly TextTest[] {
  const text = (most: number) => Array.from({ length: next(most + 1) }, () => 'ab/'[next(3)]).join('');
  const piece = (): Piece => {
    const wildcards = ['segment', 'rest', 'text', 'label'] as const;
    return next(2) === 0 ? { text: text(2) || 'a' } : { any: wildcards[next(4)]! };
  };
  return Array.from({ length: 1 + next(4) }, (): TextTest => {
    const form = (['exact', 'prefix', 'suffix', 'pattern'] as const)[next(4)]!;
    if (form === 'pattern') return { form, pieces: Array.from({ length: 1 + next(3) }, piece) };
    return { form, text: form === 'suffix' ? text(2) : `/${text(3)}` };
  });
}

function* textsUpTo(length: number): Generator<string> {
  let texts = ['/'];
  for (let size = 1; size <= length; size++) {
    yield* texts;
    texts = texts.flatMap((text) => [...'ab/x'].map((letter) => text + letter));
  }
}

test('every combination of results has exactly one class', () => {
  const next = random(7);
  for (let round = 0; round < 60; round++) {
    const tests = randomTests(next);
    const { examples, passing } = classifyTexts(tests, DOMAIN);
    const results = (text: string) => tests.map((one) => passesTest(one, text)).join();
    const known = new Set(examples.map((example) => results(example!)));
    expect(known.size).toBe(examples.length);
    const missed = [...textsUpTo(6)].filter((text) => !known.has(results(text)));
    expect(missed, JSON.stringify(tests)).toEqual([]);
    for (const one of tests)
      expect(passing(one)).toEqual(examples.flatMap((example, index) => (passesTest(one, example) ? [index] : [])));
  }
});

describe('large tests', () => {
  test('long texts need memory in proportion to their length', () => {
    const long = 'a'.repeat(1_000_000);
    const tests = (['exact', 'prefix', 'suffix'] as const).map((form): TextTest => ({ form, text: `/${long}` }));
    expect(classifyTexts(tests, DOMAIN).examples).toHaveLength(5);
  });

  test('a long text beside a pattern has its classes', () => {
    const long: TextTest = { form: 'exact', text: `/${'a'.repeat(20_000)}` };
    const { examples } = classifyTexts([long, TEMPLATE], DOMAIN);
    expect(examples).toContain(long.text);
    expect(examples).toHaveLength(3);
  });

  test.each<readonly [string, readonly TextTest[]]>([
    ['texts beside a pattern', [{ form: 'exact', text: `/${'a'.repeat(100_000)}` }, TEMPLATE]],
    ['a pattern', [{ form: 'pattern', pieces: [{ any: 'text' }, { text: 'a'.repeat(5_000) }, { any: 'text' }] }]],
    [
      'pairs of beginning and end',
      Array.from({ length: 300 }, (_, index) => index).flatMap((index): TextTest[] => [
        { form: 'prefix', text: `/${index}/` },
        { form: 'suffix', text: `-${index}` },
      ]),
    ],
  ])('refuses %s that are too large', (_, tests) => {
    expect(() => classifyTexts(tests, DOMAIN)).toThrow(expect.objectContaining({ code: 'policy_too_large' }));
  });

  test('a pattern that is too large for a regular expression matches', () => {
    const long = 'a'.repeat(200_000);
    const pieces: readonly Piece[] = [
      { any: 'segment' },
      { text: long },
      { class: '[0-9]', many: false },
      { any: 'label' },
    ];
    const matches = (value: string) => passesTest({ form: 'pattern', pieces }, value);
    expect(matches(`b${long}1`)).toBe(true);
    expect(matches(`bc${long}12x`)).toBe(true);
    expect(matches(`${long}1`)).toBe(false);
    expect(matches(`b${long}1/`)).toBe(false);
    expect(matches(`b${long}`)).toBe(false);
  });
});
