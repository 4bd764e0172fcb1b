import { describe, expect, it } from 'vitest';
import { parseDerElements } from '../../src/mesh/istiod/check-csr.ts';

const read = (hex: string) =>
  parseDerElements(Buffer.from(hex, 'hex'))?.map(({ tag, content }) => [tag, content.length]);

describe('DER', () => {
  it.each([
    ['nothing', '', []],
    ['one element', '020100', [[2, 1]]],
    [
      'two elements',
      '0201000500',
      [
        [2, 1],
        [5, 0],
      ],
    ],
    ['an element within', '3003020100', [[0x30, 3]]],
    ['a length of two bytes', `0481ff${'00'.repeat(255)}`, [[4, 255]]],
    ['a length of three bytes', `04820100${'00'.repeat(256)}`, [[4, 256]]],
  ])('is read: %s', (_, hex, elements) => {
    expect(read(hex)).toEqual(elements);
  });

  it.each([
    ['a length in more bytes than it needs', '02810100'],
    ['a length with a leading zero', `04820080${'00'.repeat(128)}`],
    ['an indefinite length', '30800201000000'],
    ['a length beyond the end', '02020'],
    ['a length that is cut off', '0482'],
    ['a tag without a length', '02'],
    ['a tag of several bytes', '1f8101020100'],
    ['an element within that is cut off', '3003020200'],
    ['an element within of more bytes than it needs', '300402810100'],
    [
      'elements 20 deep',
      Array.from({ length: 20 }).reduce<string>(
        (inner) => `30${(inner.length / 2).toString(16).padStart(2, '0')}${inner}`,
        '',
      ),
    ],
  ])('is not read: %s', (_, hex) => {
    expect(read(hex)).toBeUndefined();
  });
});
