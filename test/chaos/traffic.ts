/** Requirements on the traffic of chaos: every end has a cause, and no live session is cut or refused without a reason. */
import type { Report } from './crowd.ts';
import type { Event, Ordered, Span, Unanswered } from './terms.ts';

/** A row of the audit log. */
export interface Row {
  readonly seq: string;
  readonly time: string;
  readonly action: string;
  readonly outcome: string;
  readonly session_id: string | null;
  readonly detail: string | null;
  readonly reason: string | null;
  readonly code: string | null;
}

export interface Traffic {
  readonly rows: readonly Row[];
  readonly sessions: Report['sessions'];
  readonly over: readonly string[];
  readonly ordered: Ordered;
  readonly unanswered: Unanswered;
  readonly edgeDown: readonly Span[];
  readonly events: readonly Event[];
}

/** Maximum distance of an explanation from a failed call. */
const AROUND_MS = 6_000;
/** A tunnel that an edge's death has cut may be noticed by its client a moment later. */
const NOTICE_MS = 3_000;
/** A session that its edge's death has cut comes back by itself, with all the others at once: it has so long once the edge is ready. */
const COME_BACK_MS = 30_000;
/** Envoy, the client or the service closes a tunnel without a code; a quiet one ends by a limit, which is no cut. */
const NO_CUT = new Set<string | null>([null, 'tunnel_idle']);

export function judgeTraffic(traffic: Traffic): {
  readonly problems: readonly string[];
  readonly checked: Readonly<Record<string, number>>;
} {
  const { rows, sessions, over, ordered, unanswered, edgeDown } = traffic;
  const problems: string[] = [];
  const ends = new Map(
    rows
      .filter(({ action, outcome }) => action === 'session.close' && outcome === 'ended')
      .map((row) => [
        row.session_id!,
        { at: Date.parse(row.time), cause: (JSON.parse(row.detail!) as { cause: string }).cause },
      ]),
  );
  const endOf = (id: string) => ends.get(id)?.at ?? Number.POSITIVE_INFINITY;
  for (const id of over) {
    const end = ends.get(id);
    if (!end) problems.push(`session ${id} has ended without an audit row`);
    else if (!mayEndBy(end.cause, id, traffic))
      problems.push(
        `session ${id} ended by ${end.cause}, without such a cause (ordered: ${[...(ordered.get(id) ?? [])].join()})${around(traffic, id, end.at, end.at)}`,
      );
  }

  let calls = 0;
  let excusedCalls = 0;
  let backAfter = 0;
  for (const [id, session] of Object.entries(sessions)) {
    calls += session.calls;
    for (const { from, at, answeredAt, why } of session.failures) {
      const unheard = (unanswered.get(id) ?? []).some((span) => from <= span.to + NOTICE_MS && at >= span.from);
      const dead = edgeDown.find((span) => from <= span.to + NOTICE_MS && at >= span.from);
      // Once it has had an answer of the edge after that one, it is back.
      const coming = edgeDown.findLast(({ to }) => answeredAt <= to && from >= to && from <= to + COME_BACK_MS);
      if (coming && !dead) backAfter = Math.max(backAfter, at - coming.to);
      if (at >= endOf(id) || unheard || dead || coming) excusedCalls++;
      else
        problems.push(
          `session ${id} was live, and a call failed at ${new Date(at).toISOString()} after ${at - from} ms: ${why}${around(traffic, id, from, at)}`,
        );
    }
  }

  // Members retry if a kept connection is gone, so their calls do not show every cut. The edge's log does.
  const cuts = rows.filter(
    ({ action, outcome, code }) => action === 'tunnel' && outcome === 'ended' && !NO_CUT.has(code),
  );
  for (const { session_id: id, time, code, reason } of cuts) {
    const at = Date.parse(time);
    const excused =
      id !== null && (unanswered.get(id) ?? []).some((span) => at >= span.from && at <= span.to + NOTICE_MS);
    if (id === null || (at < endOf(id) && !excused))
      problems.push(`the edge cut a tunnel of session ${id}, which was live, at ${time}: ${code} ${reason}`);
  }
  return {
    problems,
    checked: {
      'calls answered': calls,
      'calls that failed for a known reason': excusedCalls,
      'ms until the last that a restart of the edge failed': backAfter,
      'tunnels that the edge cut': cuts.length,
    },
  };
}

/**
 * An operator's order that was never answered may have reached the agent, and not the store: it then opened a new session, and
 * the broker after that found the old one live and replaced it. Of an order that was answered the store must say `operator`.
 */
function mayEndBy(cause: string, id: string, { ordered, unanswered }: Traffic): boolean {
  return ordered.get(id)?.has(cause) === true || (cause === 'replaced' && unanswered.has(id));
}

/** Statements of the edges, the fate of the session, and disasters of that time. */
function around({ rows, events, unanswered }: Traffic, id: string, from: number, at: number): string {
  const near = (time: number) => time >= from - AROUND_MS && time <= at + AROUND_MS;
  const said = rows
    .filter(({ time, outcome, action }) => near(Date.parse(time)) && !(action === 'tunnel' && outcome === 'allowed'))
    .filter((row) => row.session_id === id || (row.session_id === null && row.action === 'tunnel'));
  const alike = Map.groupBy(
    said,
    (row) => `${row.action} ${row.outcome} ${row.code ?? ''} ${row.session_id ?? 'nobody'}`,
  );
  const lines = [...alike].map(
    ([what, [first, ...more]]) => `${first!.time} ${what}, ${more.length} more: ${first!.reason}`,
  );
  const asked = (unanswered.get(id) ?? []).map((span) => ({ ...span, what: 'an end was ordered, and not answered' }));
  const done = [...events, ...asked]
    .filter((event) => event.from <= at && event.to >= from - AROUND_MS)
    .map((event) => `${new Date(event.from).toISOString()} to ${new Date(event.to).toISOString()} ${event.what}`);
  return [...lines, ...done].map((line) => `\n    ${line}`).join('');
}
