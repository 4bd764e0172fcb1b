import { expect, test } from 'vitest';
import { plainText, printableJson, terminalText } from '../src/text.ts';

const UNSAFE = ['\u001b', '\u0007', '\u007f', '\u009b', '\u061c', '\u200e', '\u202e', '\u2066', '\u2028', '\n', '\r'];

test.each(UNSAFE)('replaces %j in a line', (character) => {
  expect(terminalText([`a${character}b`, 'c'])).toBe('a\ufffdb\nc');
  expect(plainText(character)).toBe('\ufffd');
});

test('keeps text of other scripts and joined emoji', () => {
  expect(terminalText(['Grüße, 東京 👩‍💻'])).toBe('Grüße, 東京 👩‍💻');
});

test('colours only the parts that have a colour, and only on demand', () => {
  const line = [{ text: 'a\u001b[2J', colour: '31' }, ' b'];
  expect(terminalText([line], { colour: true })).toBe('\u001b[31ma\ufffd[2J\u001b[0m b');
  expect(terminalText([line])).toBe('a\ufffd[2J b');
});

test.each(['::error::x', '  ::error file=a::x', 'a ##[error]x', '##vso[task.setvariable]x'])(
  'prints %j so that no CI system executes it',
  (text) => {
    for (const line of [text, [{ text, colour: '1' }]]) {
      const printed = terminalText([line], { colour: true });
      expect(printed).not.toMatch(/##(?:vso)?\[|^(?:\s|\p{Cc}\[1m)*::/u);
      expect(printed).toContain('\ufffd');
    }
  },
);

test('escapes unsafe characters in JSON, which stays the same value', () => {
  const value = { [UNSAFE.join('')]: [UNSAFE.join('')] };
  const text = printableJson(value);
  expect(JSON.parse(text)).toEqual(value);
  expect(plainText(text.replaceAll('\n', ''))).toBe(text.replaceAll('\n', ''));
});
