/** The table of releases, and what else says which ones are tested. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { TESTED_ISTIO_VERSIONS } from '../../packages/cli/src/check/istiod.ts';
import { RELEASES, releasesPage, resultOf, rowsOf } from './page.ts';

const ROOT = new URL('../../', import.meta.url);
const minor = (release: string) => release.split('.').slice(0, 2).join('.');

const report = (name: string, status: string, ...tests: readonly string[]) => ({
  testResults: [{ name, status, assertionResults: tests.map((one) => ({ status: one })) }],
});

it.each([
  ['every test passed', report('a.ts', 'passed', 'passed', 'passed'), '2 passed'],
  ['a test failed', report('a.ts', 'failed', 'passed', 'failed'), '1 passed, 1 failed'],
  ['a test was skipped', report('a.ts', 'passed', 'passed', 'skipped'), '1 passed, 1 failed'],
  ['the file did not load', report('a.ts', 'failed'), '0 passed, 1 failed'],
  ['the set-up failed after the tests', report('a.ts', 'failed', 'passed'), '1 passed, 1 failed'],
  ['it did not run', report('b.ts', 'passed', 'passed'), '0 passed, 1 failed'],
])('a suite has its result if %s', (_, one, result) => {
  expect(resultOf([report('c.ts', 'passed'), one], 'a.ts')).toBe(result);
});

it('a new row takes the place of the one with the same releases, and rows are in order', () => {
  const row = ({ istio, kubernetes }: (typeof RELEASES)[number], result: string) => [istio, kubernetes, result];
  const [first, second] = RELEASES;
  const page = releasesPage([row(second!, 'old'), row(first!, 'kept')], row(second!, 'new'));
  expect(rowsOf(page)).toEqual([row(first!, 'kept'), row(second!, 'new')]);
});

it.each(RELEASES)('Istio $istio on Kubernetes $kubernetes has modules of its own, and a row', (release) => {
  const { istio, kubernetes, istioFolder, kubernetesFolder } = release;
  const modules = (name: string, folder: string) =>
    readFileSync(new URL(`lab/tools/${folder ? `${name}-${folder}` : name}/go.mod`, ROOT), 'utf8');
  for (const name of ['kubernetes', 'node'])
    expect(modules(name, kubernetesFolder)).toContain(`k8s.io/kubernetes v${kubernetes} `);
  expect(modules('istio', istioFolder)).toMatch(new RegExp(`istio.io/api v${minor(istio)}\\.`));
  const rows = rowsOf(readFileSync(new URL('docs/testing/releases.md', ROOT), 'utf8'));
  expect(rows.filter(([one, other]) => one === istio && other === kubernetes)).toHaveLength(1);
});

it('the tested releases of Istio are those of the table, README, install page and versioning page', () => {
  expect(TESTED_ISTIO_VERSIONS).toEqual([...new Set(RELEASES.map(({ istio }) => minor(istio)))].sort());
  const all = `${TESTED_ISTIO_VERSIONS.slice(0, -1).join(', ')} and ${TESTED_ISTIO_VERSIONS.at(-1)}`;
  for (const page of ['README.md', 'docs/install/README.md', 'docs/versioning.md'])
    expect(readFileSync(new URL(page, ROOT), 'utf8'), page).toContain(all);
});
