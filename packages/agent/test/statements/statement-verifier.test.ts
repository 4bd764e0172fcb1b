/** Statements from an edge, and the rules by which an agent accepts them. */
import { generateKeyPairSync } from 'node:crypto';
import { dpopKey, sha256Base64url } from '@meshpass/identity';
import { type LeaseStatement, type Statement, signStatement } from '@meshpass/identity/channel';
import { expect, test } from 'vitest';
import { createStatementVerifier } from '../../src/statements/statement-verifier.ts';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keys = [{ ...dpopKey(privateKey).jwk, kid: 'one' }];
const signed = (statement: Statement) => signStatement(statement, { kid: 'one', privateKey });
const content = (text: string) => Buffer.from(text).toString('base64');

function receiving() {
  const received = createStatementVerifier({ sessionId: 'ses', keys: () => keys });
  let seq = 0;
  const header = (version: number, set: string, text = `${set} ${version}`) => {
    const digest = sha256Base64url(Buffer.from(text));
    return signed({ kind: 'configuration', set, version, digest, size: text.length });
  };
  return {
    received,
    lease(more: Partial<LeaseStatement> = {}) {
      received.sent(++seq);
      const times = { at: 1, lease_expires_at: 1, expires_at: 1 };
      return received.statement(signed({ kind: 'lease', sid: 'ses', seq, ...times, set: 'dev', ...more }));
    },
    announced: (version: number, set = 'dev') => received.statement(header(version, set)).type,
    bytes(version: number, set = 'dev') {
      const text = `${set} ${version}`;
      return received.content(sha256Base64url(Buffer.from(text)), content(text)).type;
    },
    /** Announces a version with the bytes of a previous one. */
    again: (version: number, previous: number) => received.statement(header(version, 'dev', `dev ${previous}`)).type,
    /** A configuration from HTTPS. */
    whole: (version: number, set = 'dev', text = `${set} ${version}`) =>
      received.whole(header(version, set), Buffer.from(text)).type,
  };
}

test('does not accept an announced configuration before a lease contains its version', () => {
  const { lease, announced, bytes, received } = receiving();
  lease();
  expect(received.missing()).toBeUndefined();
  expect(announced(3)).toBe('unsure');
  expect(bytes(3)).toBe('stale');
  lease({ configuration_version: 5 });
  expect(received.wanted()).toBeUndefined();
  expect(announced(5)).toBe('announced');
  expect(bytes(5)).toBe('configuration');
});

test('keeps the known version after a lease without one', () => {
  const { lease, received, announced } = receiving();
  lease({ configuration_version: 5 });
  lease();
  expect(received.missing()).toBe(5);
  expect(announced(4)).toBe('stale');
});

test('does not request a configuration again that arrived over HTTPS', () => {
  const { lease, whole, announced, received } = receiving();
  lease({ configuration_version: 5 });
  expect(announced(5)).toBe('announced');
  expect(whole(5)).toBe('configuration');
  expect(received.wanted()).toBeUndefined();
  expect(received.missing()).toBeUndefined();
  expect(announced(5)).toBe('stale');
});

test('accepts a configuration from HTTPS without a lease, and only bytes that its header names', () => {
  const { whole, received } = receiving();
  expect(whole(5, 'dev', 'another')).toBe('forged');
  expect(received.whole('x', Buffer.from('x')).type).toBe('forged');
  expect(whole(5)).toBe('configuration');
  expect(whole(5)).toBe('stale');
  expect(whole(4)).toBe('stale');
});

test('compares versions only within a set', () => {
  const { lease, whole, announced, bytes, received } = receiving();
  lease({ set: 'dev,ops', configuration_version: 9 });
  expect(whole(9, 'dev,ops')).toBe('configuration');
  expect(announced(3, 'dev')).toBe('stale');
  lease({ set: 'dev', configuration_version: 3 });
  expect(received.missing()).toBe(3);
  expect(bytes(3, 'dev')).toBe('configuration');
  // The grants return, with the configuration that they had.
  lease({ set: 'dev,ops', configuration_version: 9 });
  expect(received.missing()).toBe(9);
  expect(whole(9, 'dev,ops')).toBe('configuration');
});

test('does not let a response from HTTPS undo what the newest lease names', () => {
  const { lease, whole, announced, bytes } = receiving();
  lease({ set: 'dev', configuration_version: 5 });
  expect(whole(4)).toBe('stale');
  expect(announced(6)).toBe('announced');
  expect(bytes(6)).toBe('configuration');
  expect(whole(5)).toBe('stale');
  expect(whole(7, 'dev,ops')).toBe('unsure');
});

test('accepts the configuration of the remaining grants after a loss, in any order of announcements', () => {
  const { lease, announced, bytes, received } = receiving();
  lease({ set: 'dev,ops', configuration_version: 5 });
  announced(5, 'dev,ops');
  expect(bytes(5, 'dev,ops')).toBe('configuration');
  expect(announced(6, 'dev')).toBe('stale');
  lease({ set: 'dev', configuration_version: 6 });
  expect(received.wanted()).toMatchObject({ set: 'dev', version: 6 });
  expect(bytes(6, 'dev')).toBe('configuration');
  // Belongs to the previous grants, however new it is.
  expect(announced(7, 'dev,ops')).toBe('stale');
  expect(received.wanted()).toBeUndefined();
});

test('does not request the same bytes again after another broker has given them a newer version', () => {
  const { lease, announced, bytes, again, received } = receiving();
  lease({ configuration_version: 5 });
  announced(5);
  expect(bytes(5)).toBe('configuration');
  lease({ configuration_version: 9 });
  expect(received.missing()).toBe(9);
  expect(again(9, 5)).toBe('stale');
  expect([received.wanted(), received.missing()]).toEqual([undefined, undefined]);
  // Older than the newest version of the same bytes.
  expect(announced(8)).toBe('stale');
});

test('treats no version as current after a lease with other grants and no version', () => {
  const { lease, received } = receiving();
  lease({ set: 'dev,ops', configuration_version: 5 });
  lease({ set: 'dev' });
  expect(received.missing()).toBeUndefined();
});
