/** Size of expressions: limited before they are compiled, and when they run. */
import { RE2JS } from '@bufbuild/re2';
import type { MeshpassError } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { authorize } from '../../src/authorize/authorize.ts';
import { parseAccess } from '../../src/load/parse.ts';
import { parseExpression } from '../../src/schema/expression.ts';
import { patternSize } from '../../src/schema/pattern-size.ts';
import { BOB } from '../shop.ts';

const when = (pattern: string) => `subject.matches("${pattern}")`;

/** An access file with one entry for each expression. */
function file(expressions: readonly string[], more = ''): string {
  const who = expressions.map((text) => `{issuer: okta, when: '${text}'}`);
  return `trust: {issuers: {okta: {issuer: 'https://acme.okta.com', audience: meshpass}}}${more}
grants:
  dev:
    who:
${who.map((entry) => `      - ${entry}`).join('\n')}
    to: [{service: orders.shop, port: 8080}]
`;
}

function refusal(text: string, included: Readonly<Record<string, string>> = {}): string {
  const include = (path: string) => (path in included ? { text: included[path]! } : { problem: 'does not exist' });
  try {
    parseAccess(text, 'access.yaml', { include });
  } catch (thrown) {
    const { code, message } = thrown as MeshpassError;
    expect(code).toBe('access_file_expression');
    return message;
  }
  throw new Error('the file was accepted');
}

describe('the size of a regular expression', () => {
  it('is never less than what RE2 compiles it to', () => {
    let state = 7;
    const below = (limit: number) => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >> 8) % limit;
    };
    const pick = (texts: string) => texts.split(' ')[below(texts.split(' ').length)]!;
    const atom = (depth: number): string => {
      const kind = below(depth > 0 ? 5 : 3);
      if (kind === 0) return pick('a b - . é 😀 { } {x , a{,3} x ^ $');
      if (kind === 1) return pick('\\d \\w \\. \\pL \\p{Greek} \\P{Lu} \\x41 \\x{1F600} \\\\ \\{ \\b \\n \\123 \\07');
      if (kind === 2)
        return pick('[a-z] [^a-z] []a] [^]a] [[:alpha:]] [\\pL\\d] [a{3}] [\\]{9}] [^\\PL] [(] [[:^digit:]x]');
      return kind === 3 ? `(${alternatives(depth - 1)})` : `(?:${alternatives(depth - 1)})`;
    };
    const repeated = (depth: number) =>
      atom(depth) + (below(3) === 0 ? pick('* + ? {2} {3,} {0,4} {1,7} {12} *? {2}? {0} {0,0} {5,5} ??') : '');
    const several = (most: number, one: () => string, between: string) =>
      Array.from({ length: 1 + below(most) }, one).join(between);
    const alternatives = (depth: number): string =>
      several(3, () => (below(9) === 0 ? '' : several(4, () => repeated(depth), '')), '|');
    let compared = 0;
    for (let round = 0; round < 3000; round++) {
      const pattern = `^(?:${alternatives(3)})$`;
      let compiled: RE2JS;
      try {
        compiled = RE2JS.compile(pattern);
      } catch {
        continue; // \pL within a class and the like: not for here
      }
      compared++;
      expect(patternSize(pattern), pattern).toBeGreaterThanOrEqual(compiled.re2().prog.numInst());
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it.each([
    ['^[a-z0-9-]{1,63}$'],
    ['^repo:acme/[a-z0-9._-]{1,100}:ref:refs/heads/(main|release/[0-9]{1,3})$'],
    ['^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'],
    ['^\\\\pL{1,64}$'],
  ])('%s is accepted', (pattern) => {
    expect(parseExpression(when(pattern))).toHaveProperty('value');
  });

  it.each([
    ['a repetition', '^[a-z]{1000}$'],
    ['a repetition of a repetition', '^(a{30}){30}$'],
    ['three repetitions', '^((a{9}){9}){9}$'],
    ['many of them', `^${'a{100}'.repeat(100)}$`],
    ['what may be empty', `^(${'x?'.repeat(300)}){1000}$`],
  ])('%s that compiles to too much is refused at its line', (_, pattern) => {
    expect(refusal(file([when(pattern)]))).toMatch(
      /^access\.yaml:5:30 when: matches\(\) compiles to \d+ steps, and the maximum is 1000: \{n\} repeats the preceding part/,
    );
  });
});

describe('all expressions of an access file', () => {
  const big = when('^[a-z]{300}$');
  const few = (count: number, pattern = big) => Array.from({ length: count }, () => pattern);

  it('are accepted up to a sum', () => {
    expect(parseAccess(file(few(100)), 'access.yaml').grants).toHaveLength(1);
  });

  it('are refused beyond it, at the first that is too much', () => {
    expect(refusal(file(few(180)))).toMatch(
      /^access\.yaml:\d+:30 this expression pushes the total for all files above 100000 characters and matches\(\) steps/,
    );
  });

  it('count together over the files that are included', () => {
    const team = (name: string) =>
      `grants: {${name}: {who: [${few(60).map((text) => `{issuer: okta, when: '${text}'}`)}], to: [{service: orders.shop, port: 80}]}}`;
    const main = file(few(20), '\ninclude: [a.yaml, b.yaml]');
    expect(refusal(main, { 'a.yaml': team('a'), 'b.yaml': team('b') })).toMatch(
      /^b\.yaml:1:\d+ this expression pushes/,
    );
  });

  it('count by their length', () => {
    const long = `subject in [${Array.from({ length: 150 }, (_, index) => `"user-${index}"`)}]`;
    expect(refusal(file(few(90, long)))).toContain('above 100000 characters');
  });
});

describe('an expression that runs', () => {
  const many = { ...BOB, claims: { ...BOB.claims, many: Array.from({ length: 900 }, (_, index) => `x${index}`) } };
  const run = (text: string) => {
    const parsed = parseExpression(text);
    if (!('value' in parsed)) throw new Error(parsed.message);
    return parsed.value.evaluate(many);
  };
  const OVER = { error: 'the expression exceeds its evaluation limit' };

  it.each([
    ['a loop in a loop', 'claims.many.all(x, claims.many.exists(y, x == y))'],
    ['a list that doubles', `[claims.many]${'.map(x, x + x)'.repeat(60)}[0].all(x, x != "")`],
    ['a text that doubles', `[subject]${'.map(x, x + x)'.repeat(60)}[0] == "x"`],
    ['a denial by it', '!claims.many.all(x, claims.many.exists(y, x == y))'],
    ['an end that it does not need', 'claims.many.all(x, claims.many.all(y, x != "")) || true'],
  ])('%s cannot be decided', (_, text) => {
    expect(run(text)).toEqual(OVER);
  });

  const long = {
    ...BOB,
    teams: Array.from({ length: 150 }, (_, index) => `acme/t${index}`),
    claims: {
      text: 'ab'.repeat(4000),
      digits: '9'.repeat(8000),
      at: 1_700_000_000,
      many: many.claims.many.slice(0, 500),
      lines: Array.from({ length: 40 }, (_, n) => 'y'.repeat(200) + n),
    },
  };
  /** An expression as long as it may be, in a loop in a loop. */
  const often = (part: string, join: '&&' | '||' = '||') =>
    `claims.many.all(a, claims.many.all(b, ${Array(Math.floor(1900 / (part.length + 2)))
      .fill(part)
      .join(join)}))`;
  const doubled = `[subject]${'.map(x,[x,x])'.repeat(60)}`;

  it.each([
    ['the length of a long text', `teams.all(a, ${Array(90).fill('size(claims.text)>1').join('&&')})`],
    ['lists that are compared', often('claims.lines==claims.lines', '&&')],
    ['a list that is searched', often('!(a in claims.lines)', '&&')],
    ['long texts that are compared', often('claims.text==claims.text', '&&')],
    ['ends of long texts', often('claims.text.endsWith(claims.text)', '&&')],
    ['beginnings of long texts', often('claims.text.startsWith(claims.text)', '&&')],
    ['long numbers', often('int(claims.digits)==1')],
    ['time zones', often('timestamp(claims.at).getHours("America/New_York")<24', '&&')],
    ['texts that are put together', often('size(subject+subject+claims.lines[0])>1', '&&')],
    ['lists that are put together', often('size(claims.many+claims.many)>1', '&&')],
    ['lists that a loop puts together', `claims.many.map(x,x)${'.map(x,x)'.repeat(30)}.all(x, x!="")`],
    ['a list that is walked for its first', often('claims.many.size()>0', '&&').replace('b, ', 'b, teams.size()>0&&')],
    ['members that are missing', often('claims.q')],
    ['functions that are missing', often('1<"a"')],
    ['members of members', `teams.all(a, teams.all(b, ${`claims${'.a'.repeat(900)}`}==1||true))`],
    ['lists of the same lists', `${doubled}==${doubled}`],
    ['a regular expression of many states', often('claims.text.matches("^(.*a){50}$")')],
    ['a regular expression that looks at the end', often('claims.text.matches("^(a|b)*a(a|b){11}$")', '&&')],
  ])('ends soon: %s', (_, text) => {
    const parsed = parseExpression(text);
    if (!('value' in parsed)) throw new Error(parsed.message);
    const before = process.cpuUsage();
    expect(parsed.value.evaluate(long)).toEqual(OVER);
    const { user, system } = process.cpuUsage(before);
    // About 50 ms once V8 has compiled the evaluation. The bound is far above, so that only an expression without a budget exceeds it.
    expect((user + system) / 1000).toBeLessThan(400);
  });

  it('shares its budget with the others of a decision, which count as denied beyond it', () => {
    const slow = 'claims.many.exists(x, claims.many.exists(y, x + y == "")) || true';
    const access = parseAccess(
      `trust: {issuers: {okta: {issuer: 'https://acme.okta.com', audience: meshpass}}}
grants:
  first: {who: [{issuer: okta, when: 'subject != "" '}], to: [{service: orders.shop, port: 80}]}
  slow: {who: [{issuer: okta, when: '${slow}'}], to: [{service: orders.shop, port: 80}]}
  later: {who: [{issuer: okta, when: 'subject != ""'}], to: [{service: orders.shop, port: 80}]}
  denied: {who: [{issuer: okta}], except: [{issuer: okta, when: 'subject == ""'}], to: [{service: orders.shop, port: 80}]}
`,
      'access.yaml',
    );
    const claims = { ...long.claims, iss: 'https://acme.okta.com', aud: 'meshpass' };
    const { grants, refusals } = authorize({ ...long, claims }, access, 0);
    expect(grants.map(({ grant }) => grant.name)).toEqual(['first']);
    expect(refusals).toEqual([
      expect.stringContaining('grant slow: '),
      expect.stringContaining('cannot evaluate "when": the expression exceeds its evaluation limit'),
      expect.stringContaining('denied: '),
    ]);
  });

  it('decides for a hundred entries as people write them', () => {
    const groups = Array.from({ length: 50 }, (_, index) => `group-${index}`);
    const claims = { iss: 'https://acme.okta.com', aud: 'meshpass', email: 'bob@acme.com', groups };
    const ordinary = (index: number) => [
      `"team-${index}" in claims.groups`,
      `claims.groups.exists(g, g == "team-${index}")`,
      `subject.matches("^repo:acme/[a-z0-9._-]{1,100}:ref:refs/heads/(main|release/${index})$")`,
      `claims.email.endsWith("@acme-${index}.com") && size(claims.groups) > 1`,
    ];
    const all = Array.from({ length: 25 }, (_, index) => ordinary(index)).flat();
    const subject = 'repo:acme/payments-service:ref:refs/heads/feature/checkout-page';
    const attestation = { ...BOB, subject, claims };
    const access = parseAccess(file([...all, `"group-7" in claims.groups`]), 'access.yaml');
    expect(authorize(attestation, access, 0).grants.map(({ grant }) => grant.name)).toEqual(['dev']);
  });

  it('decides what is within its bounds', () => {
    expect(run('claims.many.exists(x, x == "x899") && claims.many.all(x, x.matches("^x[0-9]{1,3}$"))')).toBe(true);
    expect(run('claims.groups.exists(x, claims.many.exists(y, x == y))')).toBe(false);
    expect(run('subject + "@acme.com" == "okta:00u1@acme.com"')).toBe(true);
  });
});
