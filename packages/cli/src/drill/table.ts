/** A report as text: what was tried at which layer, the result, and after how many milliseconds. */
import { type DrillReport, type DrillRow, failedRows } from '@meshpass/identity/drill-report';

const MARKS: Readonly<Record<DrillRow['outcome'], string>> = {
  ...{ dead: '✓ dead', stale: '✗ STALE', lives: '✓ lives', broken: '✗ BROKEN' },
  ...{ not_tried: '- not tried', noted: '· noted' },
};

const PARTS: readonly (readonly [DrillRow['part'], string])[] = [
  ['connections', 'Open connections'],
  ['replays', 'Credentials, used again'],
  ['left', 'What Kubernetes and the store still hold'],
  ['rebuild', 'The workspace, rebuilt'],
];

/** Lines without colour. Rows of `before` are only counted: they are the baseline of the others. */
export function drillTable(report: DrillReport): string[] {
  const { session, rows, cause } = report;
  const worked = rows.filter(({ part }) => part === 'before').length;
  const lines = [
    `Session ${session.id} of ${session.login} in ${session.workspace}: ${worked} checks found it alive, then it was ended (${cause}).`,
  ];
  const shown = rows.filter(({ part }) => part !== 'before');
  const wide = (read: (row: DrillRow) => string) => Math.max(...shown.map((row) => read(row).length));
  const [mark, layer, tried] = [
    wide(({ outcome }) => MARKS[outcome]),
    wide((row) => row.layer),
    wide((row) => row.tried),
  ];
  for (const [part, title] of PARTS) {
    const own = shown.filter((row) => row.part === part);
    if (own.length === 0) continue;
    lines.push('', title);
    const again = own.filter((row) => part === 'rebuild' && row.outcome === 'dead');
    for (const row of own.filter((one) => !again.includes(one))) {
      const ms = row.ms === undefined ? '' : `${row.ms} ms`;
      const cells = [MARKS[row.outcome].padEnd(mark), row.layer.padEnd(layer), row.tried.padEnd(tried), ms.padStart(8)];
      lines.push(`  ${cells.join('  ')}  ${row.how}`.trimEnd());
    }
    if (again.length > 0)
      lines.push(`  ${MARKS.dead.padEnd(mark)}  all layers: ${again.length} uses of the old credentials, repeated`);
  }
  return [...lines, '', conclusion(report)];
}

export function conclusion(report: DrillReport): string {
  const failed = failedRows(report);
  const layers = (rows: readonly DrillRow[]) => [...new Set(rows.map(({ layer }) => layer))].join(', ');
  const dead = report.rows.filter(({ outcome }) => outcome === 'dead').length;
  const untried = report.rows.filter(({ outcome }) => outcome === 'not_tried');
  const rest = untried.length > 0 ? ` Not tried: ${layers(untried)}.` : '';
  if (failed.length === 0) return `Nothing stale works: ${dead} checks.${rest}`;
  return `FAILED at: ${layers(failed)} (${failed.length} of ${dead + failed.length} checks).${rest}`;
}
