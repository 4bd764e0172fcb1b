/** Formats audit log rows and verification findings as text. */

import type { Gap } from '@meshpass/broker/audit/export/gaps';
import type { Report } from '@meshpass/broker/audit/export/verify';
import type { SealedRow } from '@meshpass/broker/audit/log/chain';
import { plainText } from '@meshpass/identity/text';

/**
 * Formats a row as a single line. Control characters in untrusted text are replaced, so that they cannot start a new
 * line or control the terminal.
 */
export function formatAuditRow(row: SealedRow): string {
  const who = row.login ?? row.subject ?? '-';
  const parts = [
    `${row.seq}`.padStart(7),
    row.time,
    row.outcome.padEnd(7),
    row.action.padEnd(17),
    who.padEnd(16),
    row.target ?? '-',
    row.rule ?? row.grant_name ?? '',
    row.source === null ? '' : `from ${row.source}`,
    row.session_id === null ? '' : `session ${row.session_id}`,
    // Show the request ID. Developers see it in the response if their request is refused, and may ask about it.
    row.action === 'request' && row.request_id !== null ? `request ${row.request_id}` : '',
    row.code === null ? '' : `[${row.code}]`,
    row.reason,
  ];
  return plainText(parts.filter((part) => part !== '').join('  '));
}

/**
 * Formats a gap that an operator declared after a restore. Such a gap does not indicate tampering, but the log is
 * incomplete.
 */
function gapLine({ missing, unproven, isEndKnown, kept, epoch, row, time, by, reason }: Gap): string {
  const gone = missing
    ? `signed rows ${missing[0]} to ${missing[1]} are missing from this log`
    : isEndKnown
      ? 'no signed row is missing'
      : `the number of rows after row ${kept} is unknown`;
  const doubtful = unproven ? `; rows ${unproven[0]} to ${unproven[1]} are proven only from that row on` : '';
  const told = row === undefined ? 'its row was pruned' : `row ${row}, ${time}, by ${by}: ${reason}`;
  return `DECLARED GAP  a restore began epoch ${epoch}: ${gone}${doubtful} (${told})`;
}

/** Formats a verification report. */
export function formatVerificationReport(report: Report): readonly string[] {
  const { ok, rows, first, last, prunedUpTo, checkpoints, problems, more, keysPinned, keys } = report;
  const head = ok
    ? `The log verifies: ${rows} rows, ${first} to ${last}, and ${checkpoints} signed checkpoints.`
    : `THE LOG DOES NOT VERIFY: ${problems.length + more} findings in rows ${first} to ${last}.`;
  return [
    head,
    ...report.gaps.map(gapLine),
    ...problems.map((problem) => `  ${problem.kind.padEnd(12)} ${problem.message}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...(prunedUpTo > 0 ? [`Rows up to ${prunedUpTo} were pruned, as a signed cut and a row in the log confirm.`] : []),
    `Log ${report.origin}, root ${report.root}`,
    keysPinned
      ? `Signed by the key that you passed.`
      : 'Signed by the key in the log itself: pass --key to compare it with a key that you trust.',
    ...(keysPinned ? [] : keys),
  ];
}
