import type { Log } from 'sarif';
import { describe, expect, test } from 'vitest';
import {
  printExposureJson,
  printExposureMarkdown,
  printExposureSarif,
  printExposureTable,
} from '../../src/exposure.ts';
import { HOSTILE, HOSTILE_MESH, reportFor, SHOP, waysOf } from './shop.ts';

describe('a report', () => {
  test('counts all ways, and lists open ones first, without closed ones', () => {
    const { external, internal } = reportFor(SHOP);
    expect([external.counts, internal.counts]).toEqual([
      { open: 1, unknown: 1, closed: 1 },
      { open: 1, unknown: 0, closed: 0 },
    ]);
    expect(external.ways.map(({ verdict }) => verdict)).toEqual(['open', 'unknown']);
    expect(reportFor(SHOP, { isAll: true }).external.ways.map(({ verdict }) => verdict)).toEqual([
      'open',
      'unknown',
      'closed',
    ]);
  });
});

describe('the table', () => {
  const print = (colour: boolean) => printExposureTable(reportFor(SHOP), { colour });

  test('shows the path of a call with each identity, the verdict, a request and the line', () => {
    const [first] = print(false).split('\n\n').slice(1);
    expect(first!.split('\n')).toEqual([
      '  Verdict                      open',
      '  Calls                        GET /orders/* of shop.example.com',
      '  Entry point                  Gateway istio-ingress/public (port 443 HTTPS)',
      '  Destination                  orders.shop.svc.cluster.local:8080',
      '  Identity at the entry point  none: the gateway requires no client certificate',
      '  Identity at the workload     none: its policies allow calls of the gateway',
      '  Enforcing proxy              sidecar',
      '  Witness request              GET https://shop.example.com/orders/x, with header x-env: test',
      '  Place                        mesh/shop.yaml:27 (VirtualService shop/shop)',
    ]);
  });

  test('names the reason of an unknown verdict, and counts closed ways', () => {
    expect(print(false)).toContain("unknown: the checks of class other are not among Istio's policies");
    expect(print(false)).toContain('External access: 1 open, 1 unknown, 1 closed (not listed)\n');
    expect(print(false)).toContain('Internal access: 1 open, 0 unknown, 0 closed\n');
  });

  test('has colours only on request', () => {
    const start = '\u001b';
    expect(print(false)).not.toContain(start);
    expect(print(true)).toContain(`${start}[31mopen${start}[0m`);
  });

  test('has no control characters of hostile names', () => {
    const text = printExposureTable(reportFor(HOSTILE_MESH), { colour: false });
    expect(text).toContain('<script>');
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u202e]/u);
  });
});

test('JSON has stable members in snake_case', () => {
  const report = JSON.parse(printExposureJson(reportFor(SHOP, { notes: ['a note'] })));
  expect(report).toMatchObject({ external: { open: 1, unknown: 1, closed: 1 }, objects: 1, notes: ['a note'] });
  expect(Object.keys(report.external.ways[0])).toEqual([
    'verdict',
    'unknown',
    'reach',
    'entry',
    'protocol',
    'hosts',
    'calls',
    'destination',
    'identity_at_entry',
    'identity_at_workload',
    'enforcer',
    'witness',
    'object',
    'place',
  ]);
  expect(report.external.ways[0]).toMatchObject({
    entry: { kind: 'Gateway', name: 'istio-ingress/public', ports: [443], place: { file: 'mesh/shop.yaml', line: 4 } },
    calls: [{ method: 'GET', path: '/orders/*' }],
    identity_at_entry: { state: 'none' },
    witness: { url: 'https://shop.example.com/orders/x', headers: { 'x-env': 'test' } },
    place: { file: 'mesh/shop.yaml', line: 27 },
  });
  expect(report.internal.ways[0].internal).toContain('networking.gke.io/load-balancer-type');
  const name = JSON.parse(printExposureJson(reportFor(HOSTILE_MESH))).external.ways[0].object.name;
  expect(name).toBe(HOSTILE);
});

describe('SARIF', () => {
  const resultsOf = (text: string, options = {}) => {
    const { runs } = JSON.parse(printExposureSarif(reportFor(text, options))) as Log;
    return { results: runs[0]!.results!, rules: runs[0]!.tool.driver.rules! };
  };

  test('has a result for each open and unknown way, and none for closed ones', () => {
    const { results, rules } = resultsOf(SHOP, { isAll: true });
    expect(results.map(({ ruleId, level, ruleIndex }) => [ruleId, level, rules[ruleIndex!]!.id])).toEqual([
      ['external-access', 'warning', 'external-access'],
      ['external-access', 'note', 'external-access'],
      ['internal-access', 'note', 'internal-access'],
    ]);
    expect(results[0]!.locations![0]!.physicalLocation).toEqual({
      artifactLocation: { uri: 'mesh/shop.yaml' },
      region: { startLine: 27, startColumn: 31 },
    });
  });

  test('identifies a way by what it leads to, not by its line', () => {
    const of = (text: string) => resultsOf(text).results.map(({ partialFingerprints }) => partialFingerprints);
    expect(of(`# A comment.\n${SHOP}`)).toEqual(of(SHOP));
    expect(new Set(of(SHOP).map((one) => one!['meshpass/v1'])).size).toBe(3);
  });

  test('has no link of a hostile name', () => {
    expect(resultsOf(HOSTILE_MESH).results[0]!.message.text).not.toMatch(/\[[^\]]*\]\(/);
  });

  test('reports unused ways as notes', () => {
    const ways = waysOf(SHOP).filter(({ verdict }) => verdict === 'closed');
    const unused = { ways, unlogged: 0, lines: 1, unreadable: 0, from: undefined, to: undefined };
    const { results } = resultsOf(SHOP, { unused });
    expect(results.filter(({ ruleId }) => ruleId === 'unused-access')).toMatchObject([
      { level: 'note', message: { text: expect.stringContaining('/admin/* of shop.example.com') } },
    ]);
  });
});

describe('Markdown', () => {
  test('has a table and a graph from entry points to destinations', () => {
    const text = printExposureMarkdown(reportFor(SHOP));
    expect(text).toContain('## External access: 1 open, 1 unknown, 1 closed (not listed)');
    expect(text).toContain('| **open** | `GET /orders/* of shop.example.com` |');
    const graph = /```mermaid\n(.*?)```/s.exec(text)![1]!.trimEnd().split('\n');
    expect(graph).toEqual([
      'flowchart LR',
      '  n0["Gateway istio-ingress/public (port 443 HTTPS)"]',
      '  n1["orders.shop.svc.cluster.local:8080"]',
      '  n2["Gateway edge/other (port 80 HTTP)"]',
      '  n3["web.shop.svc.cluster.local:8080"]',
      '  n4["the load balancer of Service shop/ledger (port 5432)"]',
      '  n5["ledger.shop.svc.cluster.local:5432"]',
      '  n0 ==>|"open: GET /orders/#42; of shop.example.com"| n1',
      '  n2 -.->|"unknown: every call to web.example.com"| n3',
      '  n4 ==>|"open: every TCP connection to any host"| n5',
    ]);
  });

  test('is limited, and says what it leaves out', () => {
    const routes = Array.from({ length: 60 }, (_, index) => SHOP.replaceAll('orders', `orders-${index}`));
    const ways = routes.flatMap((text) => waysOf(text).filter(({ verdict }) => verdict === 'open'));
    const report = reportFor(SHOP);
    const text = printExposureMarkdown({ ...report, external: { ...report.external, ways } });
    expect(text).toContain('95 more ways are not in this table.');
    expect(text).toContain('31 more arrows are not in this graph.');
    expect(text.length).toBeLessThan(65_536);
  });

  test('quotes hostile names', () => {
    const lines = printExposureMarkdown(reportFor(HOSTILE_MESH)).split('\n');
    expect(lines.filter((line) => line.startsWith('```'))).toEqual(['```mermaid', '```']);
    expect(lines.filter((line) => line.startsWith('#'))).toHaveLength(1);
    const row = lines.find((line) => line.startsWith('| **open**'))!;
    // Without its code spans, a row has only its cells.
    expect(row.replaceAll('\\|', '').replaceAll(/`[^`]*`/g, '')).toBe(`| **open** ${'|  '.repeat(8)}|`);
    const graph = lines.slice(lines.indexOf('```mermaid') + 2, lines.lastIndexOf('```'));
    for (const line of graph) expect(line).toMatch(/^ {2}n\d+(?:\["[^"<>`[\]|]*"\]| ==>\|"[^"<>`[\]|]*"\| n\d+)$/);
  });
});
