import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import MAPPING from '../../src/audit/export/ocsf.json' with { type: 'json' };
import { type OcsfEvent, ocsfEvents } from '../../src/audit/export/ocsf.ts';
import { GENESIS_HASH, type SealedRow, seal } from '../../src/audit/log/chain.ts';

const AUDIT_ACTIONS = Object.keys(MAPPING.actions);

function row(changes: Partial<SealedRow> = {}): SealedRow {
  const full = {
    id: '01a',
    time: '2026-05-01T10:00:00.123Z',
    action: 'session.open',
    outcome: 'allowed',
    code: null,
    reason: 'team acme/payments',
    subject: 'github:1',
    login: 'alice',
    issuer: 'github',
    session_id: 'abc',
    workspace: 'codespace:7',
    grant_name: 'dev,ops',
    rule: 'dev access.yaml:4:3, ops access.yaml:9:3',
    target: 'orders.shop:8080',
    proof_hash: 'ab',
    source: '192.0.2.7',
    request_id: 'r',
    detail: null,
    ...changes,
  };
  return seal([full], { seq: 4, hash: GENESIS_HASH })[0]!;
}

const text = z.string().min(1);
const some = (members: z.ZodRawShape) =>
  z.looseObject(members).refine((object) => Object.keys(members).some((key) => key in object), 'at least one');
const user = some({ name: text.optional(), uid: text.optional() });
const endpoint = some({ ip: text.optional(), name: text.optional(), hostname: text.optional() });
const actor = some({ user: user.optional(), app_name: text.optional(), session: z.looseObject({}).optional() });
const entity = some({ name: text.optional(), uid: text.optional() });

/** Version 1.8.0: requirements of base_event, and then of each class, with its constraints. */
const base = {
  activity_id: z.number().int(),
  category_uid: z.number().int(),
  class_uid: z.number().int(),
  type_uid: z.number().int(),
  severity_id: z.number().int().min(0).max(6),
  status_id: z.union([z.literal(1), z.literal(2)]),
  time: z.number().int().positive(),
  metadata: z.looseObject({ version: z.literal('1.8.0'), product: entity, uid: text }),
};
const CLASSES: Record<number, { category: number; activities: number[]; schema: z.ZodType }> = {
  3002: {
    category: 3,
    activities: [1, 2],
    // service or dst_endpoint
    schema: z.looseObject({ ...base, user, service: entity, src_endpoint: endpoint }),
  },
  3003: {
    category: 3,
    activities: [1, 99],
    // exactly one of privileges and group
    schema: z
      .looseObject({ ...base, user, privileges: z.array(text).min(1), src_endpoint: endpoint })
      .refine((event) => !('group' in event)),
  },
  4001: {
    category: 4,
    activities: [1, 2, 5],
    // src_endpoint or dst_endpoint
    schema: z.looseObject({
      ...base,
      src_endpoint: endpoint,
      dst_endpoint: endpoint.optional(),
      connection_info: z.looseObject({ direction_id: z.number().int() }),
    }),
  },
  6002: { category: 6, activities: [3, 4], schema: z.looseObject({ ...base, app: entity }) },
  6003: {
    category: 6,
    activities: [1, 2, 3, 4, 99],
    schema: z.looseObject({ ...base, actor, api: z.looseObject({ operation: text }), src_endpoint: endpoint }),
  },
};

function check(event: OcsfEvent): void {
  const { category, activities, schema } = CLASSES[event.class_uid]!;
  expect(schema.safeParse(event).error?.issues ?? []).toEqual([]);
  expect(event.category_uid).toBe(category);
  expect(activities).toContain(event.activity_id);
  expect(event.type_uid).toBe(event.class_uid * 100 + event.activity_id);
}

const NOBODY = { subject: null, login: null, issuer: null, session_id: null, workspace: null, source: null };
const NOTHING = { ...NOBODY, grant_name: null, rule: null, target: null, proof_hash: null, request_id: null };

describe('OCSF', () => {
  it.each(AUDIT_ACTIONS)('has the required members of its class: %s', (action) => {
    for (const outcome of ['allowed', 'refused', 'ended'])
      for (const rest of [{}, NOBODY, NOTHING, { detail: '{"bytesIn":1,"bytesOut":2}' }, { detail: '{"cut' }])
        for (const event of ocsfEvents(
          row({ action, outcome, code: outcome === 'refused' ? 'access_none' : null, ...rest }),
        ))
          check(event);
  });

  it('names the activity of every action; only Authorize Session has no activity for a loss', () => {
    const other = AUDIT_ACTIONS.filter((action) =>
      ocsfEvents(row({ action })).some(({ activity_id: id }) => id === 99),
    );
    expect(other).toEqual(['session.narrow']);
  });

  it.each([
    ['operator.sign-in', 'Authentication', 'Logon'],
    ['operator.sign-out', 'Authentication', 'Logoff'],
    ['operator.close', 'API Activity', 'Delete'],
    ['request', 'Network Activity', 'Refuse'],
  ] as const)('has %s as %s: %s', (action, className, activity) => {
    const outcome = action === 'request' ? 'refused' : 'allowed';
    expect(ocsfEvents(row({ action, outcome }))[0]).toMatchObject({ class_name: className, activity_name: activity });
  });

  it('reports an opened session as a logon, with the privileges of the session', () => {
    const [logon, authorized] = ocsfEvents(row());
    expect(logon).toMatchObject({
      class_uid: 3002,
      activity_name: 'Logon',
      status: 'Success',
      user: { name: 'alice', uid: 'github:1', domain: 'github' },
      session: { uid: 'abc' },
      src_endpoint: { ip: '192.0.2.7', instance_uid: 'codespace:7' },
      authentication_token: { uid: 'ab' },
      metadata: { uid: '01a', sequence: 5, correlation_uid: 'abc' },
    });
    expect(authorized).toMatchObject({
      class_uid: 3003,
      privileges: ['dev access.yaml:4:3', 'ops access.yaml:9:3'],
      metadata: { uid: '01a/authorize' },
    });
  });

  it('states the reason of a refusal, and no ungranted access', () => {
    const events = ocsfEvents(row({ outcome: 'refused', code: 'access_none', reason: 'No grant applies.' }));
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ status_id: 2, status_code: 'access_none', status_detail: 'No grant applies.' });
  });

  it('carries the row, so that it can be verified', () => {
    const one = row();
    expect(ocsfEvents(one)[0]!.unmapped).toEqual({ meshpass: one });
  });
});
