/** Prints the results of bench/return/bench.ts beside its goals. */
import { RETURN_GOALS, type ReturnResult } from './bench.ts';
import { PARTS } from './parts.ts';

/** Misses of goals, as text. */
export function returnMissed(result: ReturnResult): string[] {
  const { sessions, wholeSeconds, missing, lost, late, newcomers, githubCalls } = result;
  const whole = RETURN_GOALS.wholeSeconds(sessions);
  const times = newcomers.map(({ milliseconds }) => milliseconds);
  const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
  return [
    ...(missing > 0 ? [`${missing} sessions have no valid SVID with a lease`] : []),
    ...(wholeSeconds > whole ? [`all were back after ${wholeSeconds.toFixed(0)} s, not within ${whole}`] : []),
    ...(lost > 0 ? [`${lost} sessions were lost`] : []),
    ...(late > 0 ? [`${late} SVIDs that were valid expired before they were renewed`] : []),
    ...(p50 > RETURN_GOALS.newcomerP50Ms ? [`half of the new developers waited ${Math.round(p50)} ms or more`] : []),
    ...(p99 > RETURN_GOALS.newcomerP99Ms ? [`a new developer waited ${Math.round(p99)} ms`] : []),
    ...(githubCalls > RETURN_GOALS.githubCalls
      ? [`GitHub was called ${githubCalls} times, not at most ${RETURN_GOALS.githubCalls}`]
      : []),
  ];
}

/** A table in Markdown. */
export function returnTable(result: ReturnResult): string[] {
  const { sessions, ttlSeconds, awaySeconds, newcomers, parts, failures } = result;
  const times = newcomers.map(({ milliseconds }) => milliseconds);
  const refused = Object.entries(
    Object.groupBy(
      newcomers.flatMap((one) => one.refused),
      (code) => code,
    ),
  );
  const told = Object.entries(failures).toSorted(([, a], [, b]) => b - a);
  const seconds = (value: number | undefined) =>
    value === undefined || Number.isNaN(value) ? 'never' : `${value.toFixed(1)} s`;
  const row = (what: string, measured: string, goal = '') => `| ${what} | ${measured} | ${goal} |`;
  return [
    `\n${sessions} agents come back at once: broker and edge were away for ${Math.round(awaySeconds)} s, SVIDs live ${ttlSeconds} s.\n`,
    '| | measured | goal |',
    '| --- | --- | --- |',
    row('every session has a valid SVID', seconds(result.certifiedSeconds)),
    row('and a lease', seconds(result.wholeSeconds), `${RETURN_GOALS.wholeSeconds(sessions)} s`),
    row('sessions lost', String(result.lost), '0'),
    row('leases by the control channel then', String(result.byChannel)),
    row(
      `new developers (${newcomers.length}) in the storm, p50 / p99`,
      `${Math.round(percentile(times, 0.5))} / ${Math.round(percentile(times, 0.99))} ms${refused.map(([code, all]) => `, ${all!.length} times ${code}`).join('')}`,
      `${RETURN_GOALS.newcomerP50Ms} / ${RETURN_GOALS.newcomerP99Ms} ms`,
    ),
    row(
      `the same before (${result.calm.length}), p50`,
      `${Math.round(
        percentile(
          result.calm.map(({ milliseconds }) => milliseconds),
          0.5,
        ),
      )} ms`,
    ),
    row(
      `valid SVIDs (${result.staying}) that expired before they were renewed; least left`,
      `${result.late}; ${seconds(result.leastLeftSeconds)}`,
      '0',
    ),
    row('certificates at the agents, every 5 s', result.certificatesEvery5s.join(' ')),
    row('istiod: certificates; busiest 5 s', `${result.signed}; ${result.peakPerSecond.toFixed(0)} a second`),
    row(
      "GitHub: calls of the App's budget; left of it",
      `${result.githubCalls}; ${result.githubLeft}`,
      `${RETURN_GOALS.githubCalls}`,
    ),
    ...PARTS.map((name) =>
      row(`${name}: cores; memory`, `${parts[name].cores.toFixed(2)}; ${Math.round(parts[name].megabytes)} MB`),
    ),
    row('failures at the agents', told.map(([what, count]) => `${what} ${count}`).join(', ') || 'none'),
  ];
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
