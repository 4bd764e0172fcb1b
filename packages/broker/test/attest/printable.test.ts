import type { Attestation } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { requirePrintable } from '../../src/issuers/printable.ts';
import { enrol, type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const FAULTS: readonly (readonly [string, string])[] = [
  ['a line break', 'alice\nroot'],
  ['a carriage return', 'alice\rroot'],
  ['an escape sequence', 'alice\u001b[2J'],
  ['a NUL', 'alice\u0000'],
  ['a C1 control', 'alice\u009b2J'],
  ['an override of direction', 'alice\u202eecila'],
  ['an isolate', 'alice\u2066'],
  ['a lone surrogate', 'alice\ud800'],
  ['a line separator', 'alice\u2028'],
];

describe('a proof is refused and nothing is signed or opened if', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness();
    harness.mesh.setAccess([grant('dev')]);
  });
  afterAll(() => harness?.stop());

  it.each(FAULTS)('its login has %s', async (_, login) => {
    const answer = await enrol(harness, 'mallory', undefined, await harness.idp.prove('mallory', { login }));
    expect([answer.status, answer.json.error_code]).toEqual([400, 'proof_unprintable']);
    expect(harness.mesh.signed).toEqual([]);
  });

  it.each([
    ['a claim', { department: 'sales\u202e' }],
    ['the name of a claim', { 'a\u0007b': 'c' }],
    ['a member of a list in a claim', { groups: ['sre', 'dev\u001b'] }],
    ['the e-mail', { email: 'alice@acme.com\n' }],
    ['the workspace', { workspace: 'codespace:x\u0085' }],
  ])('%s has one', async (_, claims) => {
    const answer = await enrol(harness, 'mallory', undefined, await harness.idp.prove('mallory', claims));
    expect([answer.status, answer.json.error_code]).toEqual([400, 'proof_unprintable']);
  });

  it('and not if a name has letters of any script, or an address has lines', async () => {
    await session(harness, 'honest');
    const claims = { login: 'Ålice Ünïcode 山田 محمد', address: { formatted: 'Street 1\nTown' } };
    const answer = await enrol(harness, 'unicode', undefined, await harness.idp.prove('unicode', claims));
    expect([answer.status, answer.json.session?.login]).toEqual([200, 'Ålice Ünïcode 山田 محمد']);
  });
});

it('the claim that may have line breaks is not kept', () => {
  const attestation = {
    claims: { address: { formatted: 'a\nb' }, email: 'a@b.c' },
    login: 'a',
  } as unknown as Attestation;
  expect(requirePrintable(attestation).claims).toEqual({ email: 'a@b.c' });
});

it('no row of the audit log has one, from any source of its text', () => {
  const clock = () => 0;
  const event = {
    ...createAuditEvent('policy.apply', { source: '192.0.2.7' }, clock, (bytes) => Buffer.alloc(bytes)),
    target: 'a\u001b[2Jb',
    detail: { because: 'x\u202ey', n: 'line\nbreak' },
  };
  const row = auditRow(event, 'refused', 'one\u009btwo', 'plan_refused', 0);
  expect(row).toMatchObject({ target: 'a\ufffd[2Jb', reason: 'one\ufffdtwo' });
  expect(JSON.parse(row.detail!)).toEqual({ because: 'x\ufffdy', n: 'line\nbreak' });
});
