/**
 * Tests the values of `requestPrincipals`, which are ISSUER/SUBJECT, split at the last slash. Either part can start or
 * end with `*`.
 */
import type { Test } from '../facts.ts';
import { type TextTest, textTest } from './text.ts';

/** Creates a test that passes if at least one of the values matches the issuer and subject of the token. */
export function requestPrincipalTest(values: readonly string[]): Test {
  const tests = values.map(issuerAndSubject);
  return ({ claims }) => {
    if (!claims) return false;
    const { iss, sub } = claims;
    if (typeof iss !== 'string' || typeof sub !== 'string') return false;
    return tests.some(({ issuer, subject }) => issuer(iss) && subject(sub));
  };
}

const something: TextTest = (text) => text !== '';
const exactly =
  (wanted: string): TextTest =>
  (text) =>
    text === wanted;

function issuerAndSubject(value: string): { readonly issuer: TextTest; readonly subject: TextTest } {
  const slash = value.lastIndexOf('/');
  const [iss, sub] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)];
  if (value === '*') return { issuer: something, subject: something };
  if (value.startsWith('*')) {
    if (slash < 0) return { issuer: something, subject: textTest([value]) };
    return { issuer: textTest([iss]), subject: exactly(sub) };
  }
  if (value.endsWith('*')) {
    if (slash < 0) return { issuer: textTest([value]), subject: something };
    return { issuer: exactly(iss), subject: textTest([sub]) };
  }
  return { issuer: exactly(iss), subject: exactly(sub) };
}
