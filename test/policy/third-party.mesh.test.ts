/**
 * The linter on manifests of other projects: the conformance suite of the Gateway API, and the test data of `istioctl
 * analyze`. Every kind of finding is explained; each was checked against the documentation of the field. False ones were
 * fixed, such as a listener without a kind of route, or a VirtualService behind an older one of its host.
 */
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lintFiles } from '@meshpass/analysis/lint';
import { expect, test } from 'vitest';
import { istioSource } from './istio-source.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');

/** Number of findings of each rule, and why they are right. */
type Expected = Readonly<Record<string, readonly [count: number, why: string]>>;

/** Counts the findings of each rule and severity, each file on its own, as the project applies it. */
function findingsIn(folder: string) {
  // Reports and settings of the conformance suite are no manifests.
  const files = globSync('**/*.yaml', { cwd: folder, exclude: ['reports/**', 'data/**'] }).toSorted();
  const counts: Record<string, number> = {};
  const unread: string[] = [];
  let objects = 0;
  for (const file of files) {
    const linted = lintFiles([{ name: file, text: readFileSync(join(folder, file)) }], { now: NOW });
    objects += linted.objects;
    for (const { code, severity } of linted.findings)
      counts[`${code} ${severity}`] = (counts[`${code} ${severity}`] ?? 0) + 1;
    unread.push(...linted.problems.map(({ code }) => `${file} ${code}`));
  }
  return { files: files.length, objects, counts, unread };
}

function countsOf(expected: Expected): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(expected).map(([rule, [count]]) => [rule, count]));
}

/** Release of the Gateway API that the lab's Istio has. */
function conformance(): string {
  const goMod = readFileSync(new URL('../../lab/tools/istio/go.mod', import.meta.url), 'utf8');
  const version = /^\tsigs\.k8s\.io\/gateway-api (v[\d.]+)/m.exec(goMod)![1]!;
  const module = `sigs.k8s.io/gateway-api/conformance@${version}`;
  // Verified by the checksum database, which covers modules that no go.mod names.
  const said = execFileSync('go', ['mod', 'download', '-json', module], { cwd: tmpdir(), encoding: 'utf8' });
  return (JSON.parse(said) as { Dir: string }).Dir;
}

const GATEWAY_API: Expected = {
  'MP101 warning': [
    27,
    'routes and Services whose names end with -test, open in the suite; warnings, as the Gateway is in another file or of another controller',
  ],
  'MP106 warning': [
    18,
    'tests of header and query matches: one version of a backend is reached with a header alone, which any caller can send',
  ],
  'MP704 warning': [57, 'listeners with `from: All`: any namespace attaches, whether or not the test lets one'],
};

const ANALYZER: Expected = {
  'MP005 error': [4, 'fields of releases before 1.3, such as workloadLabels: the API server drops them'],
  'MP101 error': [14, 'hosts and Gateways called testing, which any caller reaches, the first of each host'],
  'MP105 warning': [3, 'the analyzer finds the same (IST0130): a later match is never reached'],
  'MP107 error': [4, 'VirtualServices without exportTo for hosts of another namespace'],
  'MP107 warning': [5, 'the same, each behind another VirtualService of its host (IST0109)'],
  'MP201 warning': [11, 'hosts: ["*"] or "*/*"'],
  'MP202 warning': [40, 'servers of HTTP without a redirect'],
  'MP205 warning': [1, 'a route to port 15010 of istiod, behind a claim that nothing verifies in the file (IST0149)'],
  'MP309 warning': [2, 'the analyzer finds the same (IST0127): the selector matches no Pod of the namespace'],
  'MP317 error': [1, 'a rule with methods at a ztunnel'],
  'MP401 warning': [3, 'RequestAuthentications without a policy that requires a token'],
  'MP404 warning': [3, 'jwtRules without audiences'],
  'MP502 error': [1, 'an EnvoyFilter that inserts a Lua filter first'],
  'MP702 note': [1, 'a Service of type LoadBalancer without mutual TLS in the file'],
};

test("the Gateway API's conformance manifests have only explained findings", () => {
  const { files, objects, counts, unread } = findingsIn(conformance());
  expect(files).toBeGreaterThan(100);
  expect(objects).toBeGreaterThan(300);
  expect(unread).toEqual([]);
  expect(counts).toEqual(countsOf(GATEWAY_API));
});

test("the test data of Istio's analyzers have only explained findings", () => {
  const { files, objects, counts } = findingsIn(join(istioSource(), 'pkg/config/analysis/analyzers/testdata'));
  expect(files).toBeGreaterThan(80);
  expect(objects).toBeGreaterThan(300);
  expect(counts).toEqual(countsOf(ANALYZER));
});
