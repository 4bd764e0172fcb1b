/** docs/testing/linters.md, against the real `istioctl analyze`. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ALL_RULES } from '@meshpass/analysis/lint';
import { ensureIstioctl } from '@meshpass/lab/install/tools';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { analyze, KIALI, lintersPage } from '../../bench/analysis/linters.ts';
import { CASES, EXPOSURE_CASES } from '../../packages/analysis/test/lint/corpus.ts';

const PAGE = readFileSync(new URL('../../docs/testing/linters.md', import.meta.url), 'utf8');
/** `IST0133 (MP302)` in the table: codes that `analyze` reports for bad manifests of a rule, and not for good ones. */
const CLAIMS = [...PAGE.matchAll(/((?:(?:IST\d+|parse)(?:, )?)+) \((MP\d+)\)/g)].map(([, codes, rule]) => ({
  codes: codes!.split(', '),
  rule: rule!,
}));

let istioctl: string;
let home: string;
beforeAll(async () => {
  istioctl = await ensureIstioctl(() => undefined);
  home = mkdtempSync(join(tmpdir(), 'linters-'));
});
afterAll(() => rmSync(home, { recursive: true }));

test('has every rule that analyze finds too, with its codes', async () => {
  expect(CLAIMS.length).toBeGreaterThan(3);
  for (const { codes, rule } of CLAIMS) {
    const own = [...CASES, ...EXPOSURE_CASES].filter(({ code }) => code === rule);
    const said = async (good: boolean) => {
      const found: string[] = [];
      for (const one of own) if (one.good === good) found.push(...(await analyze(istioctl, home, one)));
      return new Set(found);
    };
    const [bad, good] = [await said(false), await said(true)];
    expect([rule, [...bad].filter((code) => !good.has(code)).sort()]).toEqual([rule, codes]);
  }
});

test('has a row for each group of rules, which together have every rule', () => {
  const rows = ALL_RULES.map(({ code }) => ({ code, bad: 1, meshpass: 1, analyze: 0, unspecific: 0, says: [] }));
  const table = (page: string) => page.split('\n').filter((line) => line.startsWith('| ['));
  const fresh = table(lintersPage(rows));
  const number = (line: string) => line.split(' | ').slice(0, 2).join(' ');
  expect(table(PAGE).map(number)).toEqual(fresh.map(number));
  const counted = fresh.map((line) => Number(line.split(' | ')[1])).reduce((all, one) => all + one, 0);
  expect(counted).toBe(ALL_RULES.filter(({ code }) => !/^MP00[1-4]$/.test(code)).length);
  for (const rule of Object.keys(KIALI)) expect(ALL_RULES.map(({ code }) => code)).toContain(rule);
});
