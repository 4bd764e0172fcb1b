/** Every known hostile input, against the real parts; prints attempts and admissions by area. */
import { afterAll, expect, it } from 'vitest';
import { accessFiles } from './access-files/inputs.ts';
import { brokerToAgent } from './agent/inputs.ts';
import { describeHostile } from './area.ts';
import { auditLog } from './audit/inputs.ts';
import { brokerHttp } from './broker-http.ts';
import { csr } from './csr/inputs.ts';
import { dpop } from './dpop.ts';
import { edge } from './edge/inputs.ts';
import { idTokens } from './id-tokens.ts';
import { kubectl } from './kubectl.ts';
import { kubernetes } from './kubernetes/inputs.ts';
import { presence } from './presence.ts';
import { sidecar } from './sidecar.ts';

const tallies = [
  describeHostile(idTokens),
  describeHostile(presence),
  describeHostile(dpop),
  describeHostile(brokerHttp),
  describeHostile(csr),
  describeHostile(edge),
  describeHostile(kubectl),
  describeHostile(sidecar),
  describeHostile(accessFiles),
  describeHostile(brokerToAgent),
  describeHostile(kubernetes),
  describeHostile(auditLog),
];

const count = ({ outcomes }: (typeof tallies)[number]) => ({
  tried: outcomes.size,
  letIn: [...outcomes.values()].filter(({ accepted }) => accepted).length,
});

it('tried at least 300 inputs and admitted none', () => {
  const counts = tallies.map(count);
  expect(counts.filter(({ letIn }) => letIn > 0)).toEqual([]);
  // A run of one area (-t) has not tried the others.
  if (counts.some(({ tried }) => tried === 0)) return;
  expect(counts.reduce((sum, { tried }) => sum + tried, 0)).toBeGreaterThanOrEqual(300);
});

afterAll(() => {
  const rows = tallies.map((tally) => ({ area: tally.area, ...count(tally) }));
  const sum = (of: (row: (typeof rows)[number]) => number) => rows.reduce((all, row) => all + of(row), 0);
  const total = { area: 'total', tried: sum(({ tried }) => tried), letIn: sum(({ letIn }) => letIn) };
  const width = Math.max(...rows.map(({ area }) => area.length));
  const line = ({ area, tried, letIn }: typeof total) =>
    `${area.padEnd(width)}  ${String(tried).padStart(5)} tried  ${String(letIn).padStart(3)} let in`;
  console.log(['Hostile inputs', ...rows.map(line), line(total)].join('\n'));
});
