/** What an agent believes of the statements that an edge brings. */
import { generateKeyPairSync } from 'node:crypto';
import { type LeaseStatement, type Statement, signStatement } from '@meshpass/identity/channel/index';
import { dpopKey } from '@meshpass/identity/dpop';
import { sha256Base64url } from '@meshpass/identity/hash';
import { expect, test } from 'vitest';
import { createReceived } from '../../src/channel/received.ts';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keys = [{ ...dpopKey(privateKey).jwk, kid: 'one' }];
const signed = (statement: Statement) => signStatement(statement, { kid: 'one', privateKey });
const content = (text: string) => Buffer.from(text).toString('base64');

function receiving(heldVersion = 0) {
  const held = { version: heldVersion };
  const received = createReceived({ sessionId: 'ses', keys: () => keys, heldVersion: () => held.version });
  let seq = 0;
  return {
    ...{ held, received },
    lease(more: Partial<LeaseStatement> = {}) {
      received.sent(++seq);
      const times = { at: 1, lease_expires_at: 1, expires_at: 1 };
      return received.statement(signed({ kind: 'lease', sid: 'ses', seq, ...times, set: 'dev', ...more }));
    },
    announced(version: number, set = 'dev') {
      const text = `${set} ${version}`;
      const digest = sha256Base64url(Buffer.from(text));
      return received.statement(signed({ kind: 'configuration', set, version, digest, size: text.length })).type;
    },
    bytes(version: number, set = 'dev') {
      const text = `${set} ${version}`;
      return received.content(sha256Base64url(Buffer.from(text)), content(text)).type;
    },
  };
}

test('before a lease names the current version, what is announced is not taken', () => {
  const { lease, announced, bytes, received } = receiving();
  lease();
  expect(received.currentVersion()).toBeUndefined();
  expect(announced(3)).toBe('unsure');
  expect(bytes(3)).toBe('stale');
  lease({ configuration_version: 5 });
  expect(received.wanted()).toBeUndefined();
  expect(announced(5)).toBe('announced');
  expect(bytes(5)).toBe('configuration');
});

test('a lease that names no version does not forget the one that was named', () => {
  const { lease, received, announced } = receiving();
  lease({ configuration_version: 5 });
  lease();
  expect(received.currentVersion()).toBe(5);
  expect(announced(4)).toBe('stale');
});

test('what came over HTTPS is not asked for again', () => {
  const { lease, held, announced, received } = receiving();
  lease({ configuration_version: 5 });
  expect(announced(5)).toBe('announced');
  held.version = 5;
  expect(received.wanted()).toBeUndefined();
  expect(announced(5)).toBe('stale');
});

test('when the grants have become fewer, the configuration of those that are left is taken, whichever news came first', () => {
  const { lease, announced, bytes, received } = receiving();
  lease({ set: 'dev,ops', configuration_version: 5 });
  announced(5, 'dev,ops');
  expect(bytes(5, 'dev,ops')).toBe('configuration');
  expect(announced(6, 'dev')).toBe('stale');
  lease({ set: 'dev', configuration_version: 6 });
  expect(received.wanted()).toMatchObject({ set: 'dev', version: 6 });
  expect(bytes(6, 'dev')).toBe('configuration');
  // Of the grants before, however new.
  expect(announced(7, 'dev,ops')).toBe('stale');
  expect(received.wanted()).toBeUndefined();
});

test('with other grants, a lease without a version says that none is current', () => {
  const { lease, received } = receiving();
  lease({ set: 'dev,ops', configuration_version: 5 });
  lease({ set: 'dev' });
  expect(received.currentVersion()).toBeUndefined();
});
