import { describe, expect, it } from 'vitest';
import { matchesRepository, parseRepository } from '../src/schema/pattern.ts';

describe('a repository', () => {
  it.each([
    ['acme/payments-*', 'acme/payments-api', true],
    ['acme/payments-*', 'ACME/Payments-API', true],
    ['acme/payments-*', 'acme/payments-', true],
    ['acme/payments-*', 'acme/payments', false],
    ['acme/payments-*', 'acme/my-payments-api', false],
    ['acme/payments-*', 'evil/payments-api', false],
    ['acme/payments-*', 'evil/acme/payments-api', false],
    ['acme/payments-*', 'acme/payments-api/evil', false],
    ['acme/payments-*', 'acme/', false],
    ['acme/payments', 'acme/payments-evil', false],
    ['acme/*', 'acme/anything', true],
    ['acme/*', 'acme-evil/anything', false],
    ['acme/*-api-*', 'acme/a-api-b-api-c', true],
    ['acme/*api', 'acme/api.evil', false],
    ['acme/a.c', 'acme/abc', false],
  ])('%s means %s: %s', (pattern, name, expected) => {
    expect(parseRepository(pattern)).toEqual({ value: pattern });
    expect(matchesRepository(pattern, name)).toBe(expected);
  });

  it('is compared in bounded time, however many stars there are', () => {
    expect(matchesRepository(`acme/${'*a'.repeat(45)}`, `acme/${'a'.repeat(99)}b`)).toBe(false);
  });
});
