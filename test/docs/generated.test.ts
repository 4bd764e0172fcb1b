/** Generated pages match the definitions in the code. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { GENERATED } from '../../deploy/reference/main.ts';

it.each(Object.entries(GENERATED))('%s is current: run npm run reference', async (path, make) => {
  expect(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')).toBe(await make());
});
