import { readFileSync } from 'node:fs';
import { ERROR_CODES } from '@meshpass/identity';
import { expect, test } from 'vitest';

const PAGE = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8');

test('every error code has a row with its anchor, and every row a code', () => {
  const explained = PAGE.split('\n')
    .filter((line) => line.startsWith('| <a id='))
    .flatMap((line) => [...line.split('|')[1]!.matchAll(/<a id="([a-z0-9_]+)"><\/a>`\1`/g)].map((match) => match[1]!));
  expect(explained.toSorted()).toEqual(ERROR_CODES.toSorted());
});
