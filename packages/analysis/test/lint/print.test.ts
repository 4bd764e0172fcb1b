import type { Log } from 'sarif';
import { describe, expect, test } from 'vitest';
import { ALL_RULES, lintFiles } from '../../src/lint/lint.ts';
import { printGithub } from '../../src/lint/print/github.ts';
import { printJson } from '../../src/lint/print/json.ts';
import { printSarif } from '../../src/lint/print/sarif.ts';
import { printText } from '../../src/lint/print/text.ts';
import { TODAY } from './corpus.ts';

const FILE = './shop routes/orders,v2.yaml';
const TEXT = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec:
  hosts: ["*"] # meshpass-lint: ignore MP103 until 2027-01-31: the shop is public under every name
  gateways: [istio-ingress/public]
  http:
    - match: [{uri: {prefix: /testing/}}]
      route:
        - destination: {host: orders}
`;
const linted = lintFiles(
  [
    { name: FILE, text: TEXT },
    { name: 'broken.yaml', text: 'kind: [' },
  ],
  { now: TODAY },
);

describe('an exposure', () => {
  test('is reported for a public test route, with name and line', () => {
    expect(linted.findings.map(({ code, place, object }) => [code, place.line, place.column, object])).toEqual([
      ['MP101', 10, 31, { kind: 'VirtualService', namespace: 'shop', name: 'orders' }],
    ]);
    expect(linted.findings[0]!.message).toBe(
      'any method /testing/* of every host of the gateway reaches orders.shop.svc.cluster.local through Gateway istio-ingress/public (not among these files): open to anyone who can reach that gateway. It is a test route: its path is /testing/.',
    );
  });

  test('is described with the header that a caller must send, which requires no identity', () => {
    const text = TEXT.replace(
      '{uri: {prefix: /testing/}}',
      '{headers: {x-env: {exact: test}}, uri: {prefix: /testing/}}',
    );
    const [finding] = lintFiles([{ name: FILE, text }], { now: TODAY }).findings.filter(({ code }) => code === 'MP101');
    expect(finding!.message).toContain(
      'open to anyone who can reach that gateway and sends the header x-env: test, which requires no identity.',
    );
  });
});

describe('a kind that no rule reads', () => {
  const OTHERS = `${TEXT}---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: a, namespace: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: b, namespace: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendLBPolicy
metadata: {name: shop, namespace: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shop, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: shop, namespace: shop}
`;
  const unread = lintFiles([{ name: FILE, text: OTHERS }], { now: TODAY });
  const NAMED =
    '1 BackendLBPolicy (gateway.networking.k8s.io/v1), 1 NetworkPolicy (networking.k8s.io/v1), 2 UDPRoute (gateway.networking.k8s.io/v1)';

  test('is counted in text', () => {
    const lines = printText(unread, { sources: new Map(), colour: false }).split('\n');
    expect(lines.join(' ').replaceAll('  ', ' ')).toContain(`not looked at: ${NAMED}`);
  });

  test('is a member of JSON', () => {
    expect(JSON.parse(printJson(unread)).notLookedAt).toEqual([
      { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'BackendLBPolicy', count: 1 },
      { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', count: 1 },
      { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'UDPRoute', count: 2 },
    ]);
    expect(JSON.parse(printJson(linted)).notLookedAt).toEqual([]);
  });

  test('is a notification of the run in SARIF, not a finding', () => {
    const [run] = (JSON.parse(printSarif(unread)) as Log).runs;
    expect(run!.invocations![0]!.toolExecutionNotifications).toMatchObject([
      { level: 'note', descriptor: { id: 'not-looked-at' }, message: { text: `No rule reads ${NAMED}.` } },
    ]);
    expect(run!.invocations![0]!.executionSuccessful).toBe(true);
  });

  test('is a notice of the workflow run on GitHub', () => {
    expect(printGithub(unread)).toContain(`::notice title=not looked at::No rule reads ${NAMED}.\n`);
    expect(printGithub(linted)).not.toContain('not looked at');
  });

  test('is listed only up to a limit', () => {
    const kind = (index: number) => `---\napiVersion: x/v1\nkind: K${index}\nmetadata: {name: a}\n`;
    const text = Array.from({ length: 200 }, (_, index) => kind(index)).join('');
    expect(printGithub(lintFiles([{ name: FILE, text }], { now: TODAY }))).toContain('and 170 more');
  });
});

describe('text', () => {
  test('shows the line with a caret under the place', () => {
    const lines = printText(linted, { sources: new Map([[FILE, TEXT]]), colour: false }).split('\n');
    const at = lines.findIndex((line) => line.startsWith('  10 | '));
    expect(lines[at]).toBe('  10 |         - destination: {host: orders}');
    expect(lines[at + 1]!.indexOf('^')).toBe(lines[at]!.indexOf('orders'));
    expect(lines[0]).toBe(`${FILE}:10:31 error MP101 open-test-route VirtualService shop/orders`);
    expect(lines.at(-2)).toBe('1 object: 1 error, 0 warnings, 0 notes, 1 suppressed');
  });

  test('cuts a long line around the caret, and removes control characters', () => {
    const name = `\u009b2J\u202e${'x'.repeat(400)}`;
    const text = `{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"a","annotations":{"b":"${name}"}},"spec":{"servers":[]}}`;
    const long = lintFiles([{ name: 'long.json', text }], { now: TODAY });
    const printed = printText(long, { sources: new Map([['long.json', text]]), colour: false });
    expect(long.findings.map(({ code }) => code)).toEqual(['MP206']);
    expect(printed).toContain('spec');
    expect(printed).not.toMatch(/[\u009b\u202e]/);
    for (const line of printed.split('\n')) expect(line.length).toBeLessThan(130);
  });
});

test('JSON contains findings, suppressions with reasons, and unreadable text', () => {
  const read = JSON.parse(printJson(linted));
  expect(read.findings).toEqual(linted.findings);
  expect(read.suppressed).toMatchObject([
    {
      code: 'MP103',
      suppressedBy: { until: '2027-01-31', reason: 'the shop is public under every name', place: { line: 5 } },
    },
  ]);
  expect(read.problems).toMatchObject([{ code: 'manifest_syntax', place: { file: 'broken.yaml' } }]);
  expect(read.objects).toBe(1);
});

describe('github', () => {
  const lines = printGithub(linted).trimEnd().split('\n');

  test('prints one workflow command per finding, on its line', () => {
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^::error file=broken\.yaml,line=1,col=\d+,title=manifest_syntax::/);
    expect(lines[1]).toMatch(
      /^::error file=\.\/shop routes\/orders%2Cv2\.yaml,line=10,col=31,title=MP101 open-test-route::any method .*%0Afix: .*%0Asee https:\/\/meshpass\.dev\/docs\/lint#mp101$/,
    );
  });

  test('prevents a manifest from injecting workflow commands', () => {
    const evil = 'x\\n::set-output name=a::b%0A';
    const text = TEXT.replace('name: orders', `name: "${evil}"`).replace('host: orders', `host: "${evil}"`);
    const printed = printGithub(lintFiles([{ name: 'a\n::stop-commands::x', text }], { now: TODAY }));
    for (const line of printed.trimEnd().split('\n')) expect(line).toMatch(/^::(?:error|warning|notice) file=/);
    expect(printed).toContain('\ufffd::set-output name=a::b%250A');
  });
});

describe('sarif', () => {
  const log = JSON.parse(printSarif(linted)) as Log;
  const [run] = log.runs;

  test('is a log of version 2.1.0 that describes every rule in its results', () => {
    expect(log.version).toBe('2.1.0');
    expect(run!.tool.driver.rules!.map(({ id }) => id)).toEqual(ALL_RULES.map(({ code }) => code));
    for (const { ruleId, ruleIndex, level } of run!.results!) {
      expect(run!.tool.driver.rules![ruleIndex!]!.id).toBe(ruleId);
      expect(['error', 'warning', 'note']).toContain(level);
    }
    for (const { id, name, defaultConfiguration, help, helpUri, shortDescription } of run!.tool.driver.rules!) {
      expect(helpUri).toBe(`https://meshpass.dev/docs/lint#${id.toLowerCase()}`);
      expect(name).toMatch(/^[A-Z][A-Za-z0-9]+$/);
      expect(['error', 'warning', 'note']).toContain(defaultConfiguration!.level);
      expect(help!.text.length * shortDescription!.text.length).toBeGreaterThan(0);
    }
  });

  test('uses relative URIs with lines and columns from 1', () => {
    const { artifactLocation, region } = run!.results![0]!.locations![0]!.physicalLocation!;
    expect(artifactLocation!.uri).toBe('shop%20routes/orders%2Cv2.yaml');
    expect(region).toEqual({ startLine: 10, startColumn: 31 });
  });

  test('includes suppressed findings with their reasons, and reports unreadable text as a notification of a failed run', () => {
    expect(run!.results!.map(({ ruleId, suppressions }) => [ruleId, suppressions?.[0]?.justification])).toEqual([
      ['MP101', undefined],
      ['MP103', 'the shop is public under every name (until 2027-01-31)'],
    ]);
    expect(run!.invocations).toMatchObject([
      {
        executionSuccessful: false,
        toolExecutionNotifications: [{ descriptor: { id: 'manifest_syntax' }, level: 'error' }],
      },
    ]);
  });

  test('keeps fingerprints if lines are added above, and distinguishes equal findings', () => {
    const printsOf = (text: string) =>
      (JSON.parse(printSarif(lintFiles([{ name: FILE, text }], { now: TODAY }))) as Log).runs[0]!.results!.map(
        ({ partialFingerprints }) => partialFingerprints!['meshpass/v1'],
      );
    expect(printsOf(`# a line more\n${TEXT}`)).toEqual(printsOf(TEXT));
    const twins = printsOf(`${TEXT}        - destination: {host: orders}\n`);
    expect(new Set(twins).size).toBe(twins.length);
  });

  test("omits the line of a cluster's object", () => {
    const findings = [{ ...linted.findings[0]!, place: { file: 'VirtualService/shop/orders', line: 0, column: 0 } }];
    const one = JSON.parse(printSarif({ ...linted, findings, suppressed: [] })) as Log;
    expect(one.runs[0]!.results![0]!.locations![0]!.physicalLocation).toEqual({
      artifactLocation: { uri: 'VirtualService/shop/orders' },
    });
  });
});
