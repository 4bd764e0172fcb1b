import { expect, test } from 'vitest';
import { lintFiles } from '../../src/lint/lint.ts';
import { CASES, TODAY } from './corpus.ts';

const lintText = (text: string | Uint8Array) => lintFiles([{ name: 'hostile.yaml', text }], { now: TODAY });
const bomb = `a0: &a0 [x, x, x, x, x, x, x, x, x]\n${Array.from({ length: 12 }, (_, n) => `a${n + 1}: &a${n + 1} [${Array(9).fill(`*a${n}`).join(', ')}]\n`).join('')}`;
const gateway = 'apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: ';

test.each<[string, string | Uint8Array, string]>([
  ['aliases that multiply', bomb, 'manifest_too_large'],
  ['a text of 100 MB', Buffer.alloc(100 * 1024 * 1024, 'a: b\n'), 'manifest_too_large'],
  ['nesting without end', `${gateway}${'['.repeat(100_000)}`, 'manifest_too_large'],
  [
    'nesting without end in blocks',
    Array.from({ length: 3000 }, (_, n) => `${' '.repeat(n)}a:`).join('\n'),
    'manifest_too_large',
  ],
  ['a duplicate key', `${gateway}\n  selector: {a: b}\n  selector: {}\n`, 'manifest_syntax'],
  ['text that is not UTF-8', Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe, 0x0a]), 'manifest_syntax'],
  ['a key that would change the prototype', `${gateway}{__proto__: {a: b}}`, 'manifest_syntax'],
  ['a tag', `${gateway}!!js/function "x"`, 'manifest_syntax'],
])('%s is an error with file and line, and nothing is linted', (_, text, code) => {
  const { problems, findings } = lintText(text);
  expect(problems.map((problem) => problem.code)).toContain(code);
  expect(problems[0]!.place.file).toBe('hostile.yaml');
  expect(problems[0]!.place.line).toBeGreaterThan(0);
  expect(findings).toEqual([]);
});

test('files after hostile text are linted', () => {
  const { findings, problems } = lintFiles(
    [
      { name: 'hostile.yaml', text: bomb },
      { name: 'b.yaml', text: `${gateway}{servers: []}` },
    ],
    { now: TODAY },
  );
  expect(problems).toHaveLength(1);
  expect(findings.map(({ code, place }) => [code, place.file])).toEqual([['MP206', 'b.yaml']]);
});

test('a suppression of a megabyte is parsed in linear time', () => {
  const words = `${'MP201, '.repeat(100_000)}until ${'x'.repeat(500_000)}`;
  const { findings } = lintText(`${gateway}{selector: {a: b}} # meshpass-lint: ignore ${words}`);
  expect(findings.map(({ code }) => code)).toEqual(['MP001']);
});

test('members of any type and depth never make a rule throw', () => {
  const odd = [
    'null',
    '7',
    'true',
    '""',
    '[]',
    '{}',
    '[null]',
    '[[1]]',
    '{a: [null]}',
    '"*"',
    '[{}]',
    '{"": 0}',
    '-1',
    '["", 3, {}]',
  ];
  let seed = 1;
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  let looked = 0;
  for (const { name, text, options } of CASES) {
    for (let round = 0; round < 25; round++) {
      // Replaces a random value of a flow mapping or of a line.
      const values = [...text.matchAll(/: (?!#)(\{[^{}\n]*\}|\[[^[\]\n]*\]|[^\s{}[\],#][^\n{}[\],#]*)/g)];
      const chosen = values[random(values.length)]!;
      const at = chosen.index + 2;
      const other = odd[random(odd.length)]!;
      const changed = text.slice(0, at) + other + text.slice(at + chosen[1]!.length);
      const { objects, findings } = lintFiles([{ name, text: changed }], options);
      looked += objects;
      for (const { message, place } of findings) {
        expect(place.line).toBeGreaterThan(0);
        expect(message).not.toMatch(/undefined|\[object|NaN/);
      }
    }
  }
  expect(looked).toBeGreaterThan(2000);
});

test.each(['name: tcp, port: {}', 'name: tcp, port: 9000, targetPort: {}', 'name: {}, port: 9000'])(
  'a malformed Service port {%s} is not reported as a valid one',
  (port) => {
    const { text } = CASES.find(({ name }) => name.startsWith('MP305-bad-closes-a-port'))!;
    const changed = text.replace('name: tcp-admin, port: 9000', port);
    expect(changed).not.toBe(text);
    for (const { message } of lintText(changed).findings) expect(message).not.toMatch(/undefined|\[object|NaN/);
  },
);
