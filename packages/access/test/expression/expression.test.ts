import { describe, expect, it } from 'vitest';
import { parseExpression } from '../../src/schema/expression.ts';
import { ALICE, BOB } from '../shop.ts';

function evaluate(text: string, attestation = BOB): unknown {
  const parsed = parseExpression(text);
  if (!('value' in parsed)) throw new Error(parsed.message);
  return parsed.value.evaluate(attestation);
}

describe('an expression', () => {
  it.each([
    ['claims.email.endsWith("@acme.com") && claims.groups.exists(g, g == "sre")', true],
    ['claims.groups.exists(g, g == "admin")', false],
    ['claims.level == 3 && claims.level >= 3', true],
    ['"sre" in claims.groups', true],
    ['has(claims.department) && claims.department == "x"', false],
    ['issuer == "okta" && subject == "okta:00u1"', true],
    ['size(teams) == 0 && workspace.kind == "other"', true],
    ['subject.matches("^okta:(00u1|00u2)$")', true],
    ['claims.groups.filter(g, g.startsWith("s")).size() == 1', true],
    ['type(claims.level) == int', true],
  ])('%s is %s for Bob', (text, expected) => {
    expect(evaluate(text)).toBe(expected);
  });

  it('sees teams and the repository of a Codespace', () => {
    expect(evaluate('"acme/payments" in teams && workspace.repository.id == 77', ALICE)).toBe(true);
  });

  it.each([
    ['a claim that is missing', 'claims.department == "x"', BOB],
    ['a login that GitHub does not attest', 'login == "bob"', BOB],
    ['one that is not the login', 'login != "alice"', BOB],
    ['a member of nothing', 'workspace.repository.id == 1', BOB],
    ['a result that is no boolean', 'claims.email', BOB],
    ['a comparison of unlike things', 'claims.email > 3', BOB],
    ['too many values', 'size(claims.many) > 0', { ...BOB, claims: { many: Array.from({ length: 2000 }, () => 'x') } }],
    ['what JavaScript objects inherit', 'claims.constructor != "x"', BOB],
  ])('cannot be decided for %s', (_, text, attestation) => {
    expect(evaluate(text, attestation)).toEqual({ error: expect.stringMatching(/./) });
  });

  it.each([
    ['claims.a ==', /not a valid CEL expression/],
    ['', /not a valid CEL expression/],
    ['true', /uses no variables/],
    ['1 == 1', /uses no variables/],
    ['email == "x"', /unknown variable "email"/],
    ['claims.groups.exists(g, h == "sre")', /unknown variable "h"/],
    ['claims.groups.exists(g, true) && g == "x"', /unknown variable "g"/],
    ['claims.email.endzWith("x")', /unknown function "endzWith"/],
    ['fetch(claims.url)', /unknown function "fetch"/],
    ['claims.email.contains("@acme.com")', /contains\(\) is not anchored/],
    ['login.matches("bob")', /matches\(\) is not anchored/],
    ['login.matches("^bob")', /not anchored/],
    ['login.matches("^bob|alice$")', /not anchored/],
    ['login.matches("^bob\\\\$")', /not anchored/],
    ['login.matches("(?m)^bob$")', /not anchored/],
    ['login.matches("^(?m:bob)$")', /not anchored/],
    ['login.matches("^(bob$")', /matches\(\): /],
    ['login.matches(claims.pattern)', /as a string literal/],
    ['claims.a.all(x, claims.a.all(y, claims.a.all(z, x == y)))', /more than 2 nested loops/],
    ['{"a": claims} == claims', /cannot be constructed here/],
    [`login == "${'x'.repeat(2000)}"`, /longer than 2000 characters/],
  ])('%s is refused', (text, message) => {
    const parsed = parseExpression(text);
    expect(parsed).toEqual({ code: 'access_file_expression', message: expect.stringMatching(message) });
  });

  it('with a class of brackets and a bar within it is anchored', () => {
    expect(evaluate('workspace.name.matches("^[a-z|]+(x|y)?$")')).toBe(true);
  });
});
