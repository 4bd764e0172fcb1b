/** The reference of the command line is what the commands are. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { reference } from '../../deploy/reference/cli.ts';

it('docs/cli.md is current: run npm run reference', async () => {
  expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toBe(await reference());
});
