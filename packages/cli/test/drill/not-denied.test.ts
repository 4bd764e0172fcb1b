import type { DrillRow, RecordedSession } from '@meshpass/identity/drill-report';
import { expect, test } from 'vitest';
import { markUndeniedRows } from '../../src/drill/run.ts';

const row = (layer: DrillRow['layer'], outcome: DrillRow['outcome']): DrillRow => ({
  part: 'replays',
  layer,
  tried: 'SVID',
  outcome,
  how: 'HTTP 200',
});
const session = (...denied: (boolean | undefined)[]): RecordedSession => ({
  id: 's1',
  opened_at: '2026-11-24T16:00:00.000Z',
  closed_at: '2026-11-24T16:01:00.000Z',
  close_cause: 'goodbye',
  principals: denied.map((one, index) => ({
    spiffe_id: `${index}`,
    namespace: 'meshpass-dev',
    last_not_after: `2026-11-24T16:0${index + 5}:00.000Z`,
    ...(one !== undefined && { denied: one }),
  })),
});
const outcomes = (rows: readonly DrillRow[]) => rows.map(({ outcome }) => outcome);

test('a credential that lives only for want of a DENY is noted, with its end', () => {
  const rows = [row('sidecar', 'stale'), row('mesh gateway', 'stale'), row('root DENY', 'stale')];
  const noted = markUndeniedRows(rows, session(false, false));
  expect(outcomes(noted)).toEqual(['noted', 'noted', 'noted']);
  expect(noted[0]!.how).toBe(
    'SVID is valid until 2026-11-24T16:06:00.000Z: this broker denies only revoked sessions (HTTP 200)',
  );
});

test('a credential that edge, broker or Kubernetes should have ended, or an unclear one, still fails', () => {
  const rows = [
    row('edge', 'stale'),
    row('token endpoint', 'stale'),
    row('TokenReview', 'stale'),
    row('sidecar', 'broken'),
  ];
  expect(markUndeniedRows(rows, session(false))).toEqual(rows);
});

test('nothing is noted if the broker was not asked, gives no answer, denies one of them, or has the session open', () => {
  const rows = [row('sidecar', 'stale')];
  for (const recorded of [undefined, session(), session(undefined), session(true), session(false, true)])
    expect(markUndeniedRows(rows, recorded)).toEqual(rows);
  expect(markUndeniedRows(rows, { ...session(false), closed_at: null })).toEqual(rows);
});
