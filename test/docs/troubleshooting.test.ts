import { readFileSync } from 'node:fs';
import { ERROR_CODES } from '@meshpass/identity';
import { expect, test } from 'vitest';

const PAGE = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8');

test('every error code is explained, and every explained code exists', () => {
  const explained = PAGE.split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...line.split('|')[1]!.matchAll(/`([a-z0-9_]+)`/g)].map((match) => match[1]!));
  expect(explained.toSorted()).toEqual(ERROR_CODES.toSorted());
});
