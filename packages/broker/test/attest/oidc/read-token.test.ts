/** The broker parses a token before it verifies it, so parsing must be cheap for any text of a stranger. */
import { expect, it } from 'vitest';
import { decodeIdToken, MAX_TOKEN_LENGTH } from '../../../src/issuers/oidc/read-token.ts';

const part = (text: string) => Buffer.from(text).toString('base64url');
const HEADER = part('{"alg":"RS256"}');
const token = (claims: string, header = HEADER) => `${header}.${part(claims)}.c2ln`;
const reading = (claims: string) => () => decodeIdToken(token(claims));
const malformed = (reason: string) =>
  expect.objectContaining({ code: 'proof_malformed', message: expect.stringContaining(reason) });

it('finds the issuer, and refuses a duplicated member, in any spelling', () => {
  expect(decodeIdToken(token('{"iss":"a:b","x":{"iss":"b"},"y":["\\":",{"iss":1}]}')).issuer).toBe('a:b');
  for (const claims of ['{"iss":"a","iss":"b"}', '{"iss":"a","\\u0069ss":"b"}', '{"iss":"a","x":[{"y":1, "y" :1}]}'])
    expect(reading(claims), claims).toThrow(malformed('duplicate member'));
  expect(reading('{"iss":"a","__proto__":1,"__proto__":2}')).toThrow(malformed('duplicate member'));
  expect(reading('{"iss":"a","b":"')).toThrow(malformed('not valid JSON'));
  expect(reading(`{"iss":"a","b":${'['.repeat(10)}1`)).toThrow(malformed('too deep'));
});

it('costs no more for a string that never ends than for an ordinary token of the same length', () => {
  const room = Math.floor(((MAX_TOKEN_LENGTH - HEADER.length - 10) * 3) / 4) - 20;
  const ordinary = token(`{"iss":"${'a'.repeat(room)}"}`);
  const cost = (text: string) => {
    const costs = Array.from({ length: 7 }, () => {
      const began = process.cpuUsage();
      for (let n = 0; n < 10; n++)
        try {
          decodeIdToken(text);
        } catch {}
      const { user, system } = process.cpuUsage(began);
      return user + system;
    });
    return Math.min(...costs);
  };
  for (const unit of ['\\"', '\\', '"', '":', '" '])
    for (const text of [`{"iss":"${unit.repeat(room / unit.length)}`, unit.repeat(room / unit.length)])
      expect(cost(token(text)) / Math.max(cost(ordinary), 100), JSON.stringify(unit)).toBeLessThan(20);
});
