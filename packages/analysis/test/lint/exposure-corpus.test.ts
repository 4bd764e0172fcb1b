/**
 * Corpus of entry points: manifests in pairs, one folder for each way into the cluster. A bad one exposes something to
 * anonymous callers on the internet, and a good one differs from it by a detail that closes it.
 *
 * A destination has one code: MP101 if it is a test, MP701 if it is an administration tool, and otherwise MP702 if an
 * entry point goes around the proxies that guard it.
 */
import { describe, expect, test } from 'vitest';
import { EXPOSURE_CASES as CASES, type Case, linesOf, lintCase } from './corpus.ts';

const FOLDERS = [...new Set(CASES.map(folderOf))];

describe('the corpus of entry points', () => {
  test.each(FOLDERS)('%s: finds exactly the findings marked on the lines of its manifests', (folder) => {
    expect(failuresIn(folder)).toEqual([]);
  });

  test('contains at least 160 manifests, and both bad and good ones in every folder', () => {
    expect(CASES.length).toBeGreaterThanOrEqual(160);
    for (const folder of FOLDERS) {
      const kinds = new Set(CASES.filter((one) => folderOf(one) === folder).map(({ good }) => good));
      expect([folder, kinds.size]).toEqual([folder, 2]);
    }
  });

  test.each(CASES.map((one) => [one.name, one] as const))('%s: is readable and marks what its name says', (_, one) => {
    expect(lintCase(one).problems).toEqual([]);
    if (one.good) expect(one.expected).toEqual([]);
    else expect(one.expected.some((expected) => expected.endsWith(one.code))).toBe(true);
  });
});

/** Describes the manifests of a folder whose findings differ from the marks. */
function failuresIn(folder: string): readonly string[] {
  return CASES.filter((one) => folderOf(one) === folder).flatMap((one) => {
    const [expected, found] = [one.expected, linesOf(lintCase(one))].map((lines) => lines.join(', ') || 'nothing');
    return expected === found ? [] : [`${one.name}: expected ${expected}, found ${found}`];
  });
}

function folderOf({ name }: Case): string {
  return name.slice(0, name.indexOf('/'));
}
