import { describe, expect, test } from 'vitest';
import { lintFiles } from '../../src/lint/lint.ts';
import { printGithub } from '../../src/lint/print/github.ts';
import { printJson } from '../../src/lint/print/json.ts';
import { printSarif } from '../../src/lint/print/sarif.ts';
import { printText } from '../../src/lint/print/text.ts';
import { formatBaseline } from '../../src/lint/settings/baseline.ts';
import { readBaseline, readLintSettings } from '../../src/lint-settings.ts';
import { TODAY } from './corpus.ts';

const route = (name: string, host: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${host}]
  gateways: [istio-ingress/public]
  http:
    - route:
        - destination: {host: orders}
`;
const GATEWAY = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
      hosts: ["*"]
`;
const lintWith = (text: string, settings: string) =>
  lintFiles([{ name: 'mesh.yaml', text }], { now: TODAY, settings: readLintSettings(settings, 'meshpass-lint.yaml') });
const found = (text: string, settings: string) =>
  lintWith(text, settings).findings.map(({ code, severity }) => `${code} ${severity}`);

describe('settings', () => {
  test('set the severity of a rule, or switch it off', () => {
    expect(found(GATEWAY, '')).toEqual(['MP202 warning', 'MP201 warning']);
    expect(found(GATEWAY, 'severities: {MP201: error, MP202: {severity: off, reason: the office only}}')).toEqual([
      'MP201 error',
    ]);
  });

  test('suppress the findings of a rule that is off, and every output says so', () => {
    const linted = lintWith(
      GATEWAY,
      `severities: {MP202: {severity: off, reason: the office only}, MP201: {severity: note, reason: behind the CDN}}
test_words: {remove: [demo]}`,
    );
    expect(linted.suppressed.map(({ code, suppressedBy }) => [code, suppressedBy])).toEqual([
      ['MP202', { reason: 'the office only', place: { file: 'meshpass-lint.yaml', line: 1, column: 14 } }],
    ]);
    const text =
      'meshpass-lint.yaml; MP201 is lowered to note (1 finding lowered: behind the CDN); MP202 is off (1 finding hidden: the office only); test words and labels removed: demo';
    const printed = printText(linted, { sources: new Map(), colour: false });
    expect(printed.replaceAll('\n', ' ')).toContain(`settings: ${text} `);
    expect(printed).toContain('0 errors, 0 warnings, 1 note, 1 suppressed');
    expect(printGithub(linted)).toContain(`::warning file=meshpass-lint.yaml,line=1,col=1,title=settings::${text}.`);
    expect(JSON.parse(printJson(linted)).settings).toMatchObject({
      file: 'meshpass-lint.yaml',
      weakened: [
        { code: 'MP201', severity: 'note', findings: 1 },
        { code: 'MP202', severity: 'off', findings: 1 },
      ],
      removed: ['demo'],
    });
    expect(JSON.parse(printSarif(linted)).runs[0].invocations[0].toolExecutionNotifications).toMatchObject([
      { descriptor: { id: 'settings' }, level: 'warning', message: { text: `${text}.` } },
    ]);
  });

  test('that take nothing away are named', () => {
    const linted = lintWith(GATEWAY, 'severities: {MP201: error}');
    expect(printText(linted, { sources: new Map(), colour: false })).toContain('settings: meshpass-lint.yaml\n');
    expect(printGithub(linted)).toContain('title=settings::meshpass-lint.yaml.');
    expect(JSON.parse(printJson(linted)).settings).toEqual({ file: 'meshpass-lint.yaml', weakened: [], removed: [] });
  });

  test('of a rule that is off leave a suppression of it used', () => {
    const suppressed = GATEWAY.replace(
      'hosts: ["*"]',
      'hosts: ["*"] # meshpass-lint: ignore MP201 until 2027-01-31: public under every name',
    );
    expect(
      found(
        suppressed,
        'severities: {MP201: {severity: off, reason: the office only}, MP202: {severity: off, reason: the office only}}',
      ),
    ).toEqual([]);
  });

  test('add and remove words', () => {
    const [beta, demo] = [route('orders', 'beta.shop.example.com'), route('orders', 'demo.shop.example.com')];
    expect([found(beta, ''), found(demo, '')]).toEqual([[], ['MP101 error']]);
    expect(found(beta, 'test_words: {add: [beta]}')).toEqual(['MP101 error']);
    expect(found(demo, 'test_words: {remove: [demo]}')).toEqual([]);
  });

  test('add and remove labels', () => {
    const namespace = (label: string) => `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {${label}: qa}}
---
${route('orders', 'shop.example.com')}`;
    expect([found(namespace('tier'), ''), found(namespace('example.com/purpose'), '')]).toEqual([['MP101 error'], []]);
    expect(found(namespace('tier'), 'test_labels: {remove: [tier]}')).toEqual([]);
    expect(found(namespace('example.com/purpose'), 'test_labels: {add: [example.com/purpose]}')).toEqual([
      'MP101 error',
    ]);
  });

  test('declare an entry point, which is accepted with reason and owner', () => {
    const settings = `entry_points:
  - {kind: VirtualService, namespace: shop, name: demo, reason: the public demo, owner: team shop}`;
    const linted = lintWith(
      `${route('demo', 'demo.shop.example.com')}---\n${route('other', 'demo.shop.example.com')}`,
      settings,
    );
    expect(linted.findings.map(({ object }) => object.name)).toEqual(['other']);
    expect(linted.suppressed.map(({ code, suppressedBy }) => [code, suppressedBy])).toEqual([
      [
        'MP101',
        {
          reason: 'the public demo',
          owner: 'team shop',
          place: { file: 'meshpass-lint.yaml', line: 2, column: 5 },
        },
      ],
    ]);
    expect(printText(linted, { sources: new Map(), colour: false })).toContain(
      'accepted: MP101 VirtualService shop/demo: the public demo (team shop)\n',
    );
    expect(JSON.parse(printSarif(linted)).runs[0].results[1].suppressions).toEqual([
      { kind: 'external', justification: 'the public demo (team shop)' },
    ]);
  });

  test('accept only findings about entry points', () => {
    const settings =
      'entry_points: [{kind: Gateway, namespace: istio-ingress, name: public, reason: the public shop, owner: shop}]';
    expect(found(GATEWAY, settings)).toEqual(['MP202 warning', 'MP201 warning']);
  });

  test.each([
    ['test_word: {}', '1:1 unknown key "test_word" (did you mean "test_words"?)'],
    ['\nseverities: {MP999: note}', '2:14 no rule has the code MP999'],
    ['severities: {MP201: fatal}', '1:21 severities.MP201.severity: '],
    ['severities: {MP201: {severity: off, why: none}}', '1:37 unknown key "why"'],
    ['severities: {MP201: off}', '1:14 MP201 needs a reason below warning: {severity: off, reason: WHY}'],
    ['severities: {MP310: {severity: off, reason: no}}', 'expected a reason'],
    ['severities: {MP001: {severity: off, reason: we trust us}}', '1:14 MP001 reports faulty suppressions'],
    ['severities: {MP002: warning, MP003: note}', '1:14 MP002 reports faulty suppressions'],
    ['severities: {MP004: off}', '1:14 MP004 reports faulty suppressions'],
    ['test_words: {added: [a]}', '1:14 unknown key "added"'],
    ['entry_points: [{kind: A, name: b, owner: c}]', '1:16 entry_points.0.reason: '],
    ['entry_points: [{kind: A, name: b, owner: c, reason: ok}]', '1:53 entry_points.0.reason: expected a reason'],
    ['a: [', 'meshpass-lint.yaml:1:'],
  ])('%j is an error with file and line', (text, message) => {
    expect(() => readLintSettings(text, 'meshpass-lint.yaml')).toThrow(message);
  });
});

describe('a baseline', () => {
  const lintTwice = (before: string, after: string) => {
    const written = formatBaseline(lintFiles([{ name: 'mesh.yaml', text: before }], { now: TODAY }));
    return lintFiles([{ name: 'moved.yaml', text: after }], {
      now: TODAY,
      baseline: readBaseline(written, 'baseline.json'),
    });
  };

  test('hides known findings, also in another file and on another line', () => {
    const { findings, suppressed, gone } = lintTwice(GATEWAY, `# moved\n${GATEWAY}`);
    expect([findings, gone]).toEqual([[], []]);
    expect(suppressed.map(({ code, suppressedBy }) => [code, suppressedBy.reason])).toEqual([
      ['MP202', 'known, in the baseline'],
      ['MP201', 'known, in the baseline'],
    ]);
  });

  test('reports a new finding, and one more of the same kind', () => {
    const server = GATEWAY.slice(GATEWAY.indexOf('    - port'));
    const { findings } = lintTwice(GATEWAY, `${GATEWAY}${server}---\n${route('orders', 'test.shop.example.com')}`);
    expect(findings.map(({ code }) => code)).toEqual(['MP202', 'MP201', 'MP101']);
  });

  test('says which findings are gone', () => {
    const linted = lintTwice(GATEWAY, GATEWAY.replace('"*"', 'shop.example.com'));
    expect(linted.gone.map(({ code, object }) => `${code} ${object}`)).toEqual(['MP201 Gateway istio-ingress/public']);
    expect(printText(linted, { sources: new Map(), colour: false })).toContain(
      'gone: MP201 Gateway istio-ingress/public: * allows',
    );
    expect(printGithub(linted)).toContain('::notice title=gone::No longer found: MP201 Gateway istio-ingress/public.');
    expect(JSON.parse(printJson(linted)).gone).toEqual(linted.gone);
  });

  test('never holds findings about suppressions', () => {
    const text = `${GATEWAY.trimEnd()} # meshpass-lint: ignore MP201 until 2026-01-01: public under every name\n`;
    expect(lintTwice(text, text).findings.map(({ code }) => code)).toEqual(['MP002']);
  });

  test.each([
    ['[]', 'baseline.json: '],
    ['{"findings": [{"code": "MP201", "line": 3}]}', 'baseline.json: findings.0'],
    ['no JSON', 'baseline.json is not JSON'],
  ])('%j is refused', (text, message) => {
    expect(() => readBaseline(text, 'baseline.json')).toThrow(message);
  });
});
