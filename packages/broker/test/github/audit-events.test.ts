/** GitHub's audit log as a Splunk collector gets it: relevant events, and input that is no event. */
import { describe, expect, it } from 'vitest';
import { parseAuditEvents } from '../../src/core/watch/audit-events.ts';

const stop = { action: 'codespaces.suspend_environment', name: 'space-1', owner: 'alice', _document_id: 'abc' };
const gone = { action: 'codespaces.destroy', name: 'space-2', user: 'bob' };
const read = [
  { action: 'codespaces.suspend_environment', name: 'space-1', owner: 'alice', id: 'abc' },
  { action: 'codespaces.destroy', name: 'space-2', owner: 'bob' },
];

describe('readAuditEvents reads', () => {
  it.each([
    ['envelopes without anything between them', JSON.stringify({ event: stop }) + JSON.stringify({ event: gone })],
    ['a line each', `${JSON.stringify({ time: 1, event: stop })}\n${JSON.stringify({ time: 2, event: gone })}\n`],
    ['bare events', `${JSON.stringify(stop)} ${JSON.stringify(gone)}`],
    ['an array', JSON.stringify([stop, { event: gone }])],
    [
      'events as text within envelopes',
      JSON.stringify([stop, gone].map((event) => ({ event: JSON.stringify(event) }))),
    ],
  ])('%s', (_, body) => expect(parseAuditEvents(body)).toEqual(read));

  it('past braces and quotes inside of strings', () => {
    const odd = { action: 'repo.create', name: 'a "} {" \\ b' };
    expect(parseAuditEvents(JSON.stringify(odd) + JSON.stringify(stop))).toEqual([read[0]]);
  });

  it('nothing of other events, of plain text and of an empty body', () => {
    expect(parseAuditEvents('')).toEqual([]);
    expect(
      parseAuditEvents('{"event": "hello"}{"action": "codespaces.create", "name": "x"}[1, null, "x", [{}]]'),
    ).toEqual([]);
  });

  it('an event without a name, by its developer', () => {
    const { name: _, ...nameless } = stop;
    expect(parseAuditEvents(JSON.stringify(nameless))[0]).toMatchObject({ name: undefined });
  });

  it('members who left a team or an organization, or a deleted team', () => {
    const events = [
      {
        action: 'team.remove_member',
        team: 'Acme/Payments',
        user: 'Alice',
        org: 'Acme',
        user_id: 7,
        _document_id: 'd1',
      },
      { action: 'org.remove_member', org: 'acme', user: 'alice' },
      { action: 'org.block_user', org: 'acme', blocked_user: 'bob' },
      { action: 'team.destroy', team: 'acme/payments', user_id: 'seven' },
    ];
    expect(parseAuditEvents(JSON.stringify(events))).toEqual([
      {
        action: 'team.remove_member',
        team: 'acme/payments',
        user: 'alice',
        organization: 'acme',
        userId: 7,
        id: 'd1',
      },
      { action: 'org.remove_member', organization: 'acme', user: 'alice' },
      { action: 'org.block_user', organization: 'acme', user: 'bob' },
      { action: 'team.destroy', team: 'acme/payments', organization: 'acme' },
    ]);
  });

  it('nothing of a membership change without a person', () => {
    const events = [
      { action: 'org.remove_member', org: 'acme' },
      { action: 'team.remove_member', team: 'acme/payments' },
    ];
    expect(parseAuditEvents(JSON.stringify(events))).toEqual([]);
  });

  it('nothing of names that are no names', () => {
    expect(parseAuditEvents(JSON.stringify({ ...gone, name: { a: 1 }, user: 'x'.repeat(300) }))).toEqual([
      { action: 'codespaces.destroy' },
    ]);
  });
});

it.each(['hello', '{"a": ', '{"a": 1}}', '{a: 1}', '"text"', '{"event": {}} x'])('%s is refused', (body) => {
  expect(() => parseAuditEvents(body)).toThrow(expect.objectContaining({ code: 'request_malformed' }));
});
