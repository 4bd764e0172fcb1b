/** ARCHITECTURE.md lists every cause of a session's end, with the place that decides it. */
import { readFileSync } from 'node:fs';
import { CLOSE_CAUSES } from '@meshpass/broker/store/close-causes';
import { expect, it } from 'vitest';

const PAGE = readFileSync(new URL('../../ARCHITECTURE.md', import.meta.url), 'utf8');

it('names every cause of an end, and a file for each', () => {
  const table = /^## The end of a session$(.*?)^2\. /ms.exec(PAGE)![1]!;
  const rows = [...table.matchAll(/^ {3}\| (.+?\)) \| (.*`packages\/.*) \|$/gm)];
  const named = rows.flatMap(([, cause]) => [...cause!.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name!));
  expect([...new Set(named)].toSorted()).toEqual([...CLOSE_CAUSES].toSorted());
});
