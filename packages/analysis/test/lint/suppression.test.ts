import { describe, expect, test } from 'vitest';
import { lintFiles } from '../../src/lint/lint.ts';
import { TODAY } from './corpus.ts';

const gateway = (hosts: string, annotations = '') => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: public
  namespace: istio-ingress
${annotations}spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
${hosts}
`;
const codes = (text: string, now = TODAY) =>
  lintFiles([{ name: 'a.yaml', text }], { now }).findings.map(({ code }) => code);
const HOSTS = '      hosts: ["*"]';
const WHY = 'until 2027-03-31: public under every name';

describe('a comment', () => {
  test('applies to its own line, or to the next line that is more than a comment', () => {
    expect(codes(gateway(HOSTS))).toEqual(['MP202', 'MP201']);
    expect(codes(gateway(`${HOSTS} # meshpass-lint: ignore MP201 ${WHY}`))).toEqual(['MP202']);
    expect(codes(gateway(`      # meshpass-lint: ignore MP201 ${WHY}\n\n      # more\n${HOSTS}`))).toEqual(['MP202']);
  });

  test('hides no other rule and no other line', () => {
    expect(codes(gateway(`${HOSTS} # meshpass-lint: ignore MP202 ${WHY}`))).toEqual(['MP202', 'MP201', 'MP004']);
    expect(codes(gateway(`${HOSTS}\n      # meshpass-lint: ignore MP201 ${WHY}`))).toEqual(['MP202', 'MP201', 'MP004']);
  });

  test.each([
    ['', 'MP001'],
    ['MP201', 'MP001'],
    ['MP201: public under every name', 'MP001'],
    ['MP201 until 2027-03-31', 'MP001'],
    ['MP201 until 2027-03-31: ok', 'MP001'],
    ['MP201 until 2027-02-30: public under every name', 'MP001'],
    ['MP201 until soon: public under every name', 'MP001'],
    ['until 2027-03-31: public under every name', 'MP001'],
    ['MP201 until 2026-01-01: public under every name', 'MP002'],
    ['MP211 until 2027-03-31: public under every name', 'MP003'],
  ])('"%s" suppresses nothing and is %s', (words, code) => {
    const found = codes(gateway(`${HOSTS} # meshpass-lint: ignore ${words}`));
    expect(found).toContain('MP201');
    expect(found).toContain(code);
  });

  test('ends after its date in every time zone', () => {
    const text = gateway(`${HOSTS} # meshpass-lint: ignore MP201 until 2026-11-30: public under every name`);
    expect(codes(text, Date.parse('2026-12-01T11:00:00Z'))).toEqual(['MP202']);
    expect(codes(text, Date.parse('2026-12-01T13:00:00Z'))).toEqual(['MP202', 'MP201', 'MP002']);
  });

  test('cannot suppress findings about suppressions', () => {
    const text = gateway(
      `${HOSTS} # meshpass-lint: ignore MP201, MP001, MP002 until 2026-01-01: public under every name`,
    );
    expect(codes(text)).toContain('MP002');
  });
});

describe('an annotation', () => {
  test('applies to every finding on its object, one suppression per line, and to no other object', () => {
    const annotated = gateway(
      HOSTS,
      `  annotations:\n    meshpass.dev/lint-ignore: |\n      MP201 ${WHY}\n      MP202 until 2027-01-01: behind the CDN\n`,
    );
    expect(codes(annotated)).toEqual([]);
    expect(codes(`${annotated}---\n${gateway(HOSTS).replace('public', 'other')}`)).toEqual(['MP202', 'MP201']);
  });
});
