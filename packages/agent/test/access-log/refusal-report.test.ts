/** The agent's report of refusals, which accumulates them until the broker has received them. */
import { MAX_REPORTED_REFUSALS, RefusalReportRequest } from '@meshpass/identity/refusal-report';
import { expect, test } from 'vitest';
import { RefusalReport } from '../../src/access-log/report.ts';

const kind = (port = 8080) =>
  ({ hop: 'edge', host: 'orders.shop.svc.cluster.local', port, code: 'tunnel_target_not_granted' }) as const;
const id = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const sent = async (report: RefusalReport) => {
  let seen: RefusalReportRequest | undefined;
  await report.send(async (one) => {
    seen = one;
  });
  return seen;
};

test('reports refusals of one kind once, as one entry with a count and the newest ids', async () => {
  const report = new RefusalReport();
  for (let n = 0; n < 9; n++) report.add(kind(), id(n));
  expect(await sent(report)).toEqual({
    refusals: [{ ...kind(), count: 9, ids: [8, 7, 6, 5].map(id) }],
  });
  expect(await sent(report)).toBeUndefined();
});

test('sends what the broker did not accept with the next heartbeat, added up', async () => {
  const report = new RefusalReport();
  report.add(kind(), id(1));
  const failing = report.send(async () => {
    report.add(kind(), id(2));
    throw new Error('away');
  });
  await expect(failing).rejects.toThrow('away');
  expect(await sent(report)).toEqual({ refusals: [{ ...kind(), count: 2, ids: [1, 2].map(id) }] });
});

test('reports the refusals of an ended session once, through the next session but under its own id', async () => {
  const report = new RefusalReport();
  report.add(kind(), id(1));
  const failing = report.send(async () => {
    report.add(kind(), id(2));
    report.sessionChanged('ses-1');
    throw new Error('session_closed');
  });
  await expect(failing).rejects.toThrow('session_closed');
  report.add(kind(9090), id(3));
  expect(report.isEmpty).toBe(false);
  const told = await sent(report);
  expect(told).toEqual({
    refusals: [{ ...kind(9090), count: 1, ids: [id(3)] }],
    earlier: { session_id: 'ses-1', refusals: [{ ...kind(), count: 2, ids: [1, 2].map(id) }] },
  });
  expect(RefusalReportRequest.parse(told)).toEqual(told);
  expect(report.isEmpty).toBe(true);
  expect(await sent(report)).toBeUndefined();
});

test('keeps undelivered refusals of the previous session, but not of earlier ones', async () => {
  const report = new RefusalReport();
  report.add(kind(), id(1));
  report.sessionChanged('ses-1');
  await expect(report.send(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect((await sent(report))?.earlier?.session_id).toBe('ses-1');
  report.add(kind(), id(2));
  report.sessionChanged('ses-2');
  report.sessionChanged('ses-3');
  expect(await sent(report)).toBeUndefined();
});

test('limits the number of kinds, counts the rest, and produces a report that the broker accepts', async () => {
  const report = new RefusalReport();
  for (let port = 1; port <= MAX_REPORTED_REFUSALS + 5; port++) report.add(kind(port), 'made up by a program');
  const seen = await sent(report);
  expect(seen?.refusals).toHaveLength(MAX_REPORTED_REFUSALS);
  expect(seen?.more_refusals).toBe(5);
  expect(JSON.stringify(seen)).not.toContain('made up');
  expect(RefusalReportRequest.parse(seen)).toEqual(seen);
});
