/** Formats a drill report as text. It shows the layer, the result and the duration in milliseconds of each attempt. */
import { type DrillReport, type DrillRow, failedRows } from '@meshpass/identity/drill-report';
import { formatLines } from '../diagnosis/print.ts';

const MARKS: Readonly<Record<DrillRow['outcome'], string>> = {
  dead: '✓ dead',
  stale: '✗ STALE',
  lives: '✓ lives',
  broken: '✗ BROKEN',
  not_tried: '- not tried',
  noted: '· noted',
};

const PARTS: readonly (readonly [DrillRow['part'], string])[] = [
  ['connections', 'Open connections'],
  ['replays', 'Credentials, used again'],
  ['left', 'Remains in Kubernetes and in the store'],
  ['rebuild', 'The workspace, rebuilt'],
];

/**
 * Formats a report without colours. The rows in the part `before` are only counted, because they merely serve as a
 * baseline for the other rows.
 */
export function formatDrillReport(report: DrillReport): string[] {
  const { session, rows, cause } = report;
  const worked = rows.filter(({ part }) => part === 'before').length;
  const lines = [
    `Session ${session.id} of ${session.login} in ${session.workspace}: ${worked} checks found it alive, then it was ended (${cause}).`,
  ];
  const shown = rows.filter(({ part }) => part !== 'before');
  const isRepeated = ({ part, outcome }: DrillRow) => part === 'rebuild' && outcome === 'dead';
  const listed = shown.filter((row) => !isRepeated(row));
  const tried = Math.max(...listed.map((row) => row.tried.length));
  const text = formatLines(
    listed.map((row) => {
      const ms = row.ms === undefined ? '' : `${row.ms} ms`;
      const says = `${row.tried.padEnd(tried)}  ${ms.padStart(8)}  ${row.how}`.trimEnd();
      return { check: row.layer, state: row.outcome, says };
    }),
    MARKS,
  );
  for (const [part, title] of PARTS) {
    const own = shown.filter((row) => row.part === part);
    if (own.length === 0) continue;
    lines.push('', title, ...text.filter((_, index) => listed[index]!.part === part).map((line) => `  ${line}`));
    const again = own.filter(isRepeated).length;
    if (again > 0) lines.push(`  ${MARKS.dead} all layers: ${again} uses of the old credentials, repeated`);
  }
  return [...lines, '', summarizeDrill(report)];
}

/** Summarizes a report in a single sentence. */
function summarizeDrill(report: DrillReport): string {
  const failed = failedRows(report);
  const layers = (rows: readonly DrillRow[]) => [...new Set(rows.map(({ layer }) => layer))].join(', ');
  const dead = report.rows.filter(({ outcome }) => outcome === 'dead').length;
  const untried = report.rows.filter(({ outcome }) => outcome === 'not_tried');
  const noted = report.rows.filter(({ outcome }) => outcome === 'noted');
  const rest = [
    ...(noted.length > 0 ? [` Noted: ${layers(noted)}.`] : []),
    ...(untried.length > 0 ? [` Not tried: ${layers(untried)}.`] : []),
  ].join('');
  if (failed.length === 0) return `Nothing stale works: ${dead} checks.${rest}`;
  return `FAILED at: ${layers(failed)} (${failed.length} of ${dead + failed.length} checks).${rest}`;
}
