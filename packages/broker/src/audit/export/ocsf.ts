/**
 * Maps audit rows to events of the Open Cybersecurity Schema Framework, version 1.8.0. The mapping is defined in
 * `ocsf.json` and applied by `ocsfEvents`. The `unmapped` member contains the row and its position in the chain, so
 * that an event can be traced back to the row and verified.
 */

import { parseDetail, type SealedRow } from '../log/chain.ts';
import type { AuditAction, RowOutcome } from '../log/event.ts';
import MAPPING from './ocsf.json' with { type: 'json' };

export type OcsfEvent = Readonly<Record<string, unknown>> & {
  readonly class_uid: number;
  readonly category_uid: number;
  readonly activity_id: number;
  readonly type_uid: number;
};

/**
 * The activities that each action maps to, either for all outcomes or for each outcome separately. Actions that are no
 * longer written map to `Other`.
 */
const ACTIONS: Readonly<Record<AuditAction, string | Readonly<Record<RowOutcome, readonly string[]>>>> =
  MAPPING.actions;
/**
 * The class and the number of each activity. Authorize Session does not have an activity for privileges that a session
 * loses.
 */
const ACTIVITIES: Readonly<Record<string, { readonly class: string; readonly id: number }>> = MAPPING.activities;
const CLASSES: Readonly<Record<string, { readonly class_uid: number; readonly class_name: string }>> = MAPPING.classes;

/**
 * An event template. `$NAME` is replaced with the value of that name from `valuesOf`. Members without a value are
 * omitted, and so are empty objects, empty lists, and objects whose `$if` does not have a value.
 */
type Template = string | number | boolean | readonly Template[] | { readonly [member: string]: Template };

/**
 * Converts a row to OCSF events.
 * @returns one event, or two if a session was opened: one for the sign-in and one for its privileges
 */
export function ocsfEvents(row: SealedRow): OcsfEvent[] {
  const found = Object.hasOwn(ACTIONS, row.action) ? ACTIONS[row.action as AuditAction] : 'Other';
  const activities = typeof found === 'string' ? [found] : (found[row.outcome as RowOutcome] ?? found.refused);
  return activities.map((activity) => {
    const { class: name, id } = ACTIVITIES[activity]!;
    const members = CLASSES[name]!;
    const activityName = activity === 'Other' ? row.action : activity;
    const values = {
      ...valuesOf(row),
      activity_id: id,
      activity_name: activityName,
      type_uid: members.class_uid * 100 + id,
      type_name: `${members.class_name}: ${activityName}`,
      uid: activity === 'Assign Privileges' ? `${row.id}/authorize` : row.id,
      // For network activity, `actor` is only defined by the `host` profile.
      profiles: name === 'network' ? ['host'] : undefined,
      ...(activity === 'Logon' && { auth_protocol_id: 6, auth_protocol: 'OAUTH 2.0' }),
    };
    const template = {
      ...members,
      ...MAPPING.event,
      ...MAPPING.outcomes[row.outcome === 'refused' ? 'failure' : 'success'],
    };
    return { ...(fill(template, values) as OcsfEvent), unmapped: { meshpass: row } };
  });
}

/** Returns a row's members and the values derived from them. Null and undefined both mean that there is no value. */
function valuesOf(row: SealedRow): Readonly<Record<string, unknown>> {
  const who = row.login ?? row.subject;
  const [, host, port] = /^(.*?)(?::(\d{1,5}))?$/s.exec(row.target ?? '') ?? [];
  const { bytesIn, bytesOut } = parseDetail(row);
  const isCounted = typeof bytesIn === 'number' && typeof bytesOut === 'number';
  return {
    ...row,
    who,
    name: who ?? 'unknown',
    owner: row.workspace || undefined,
    source_name: row.source === null ? 'meshpass-broker' : undefined,
    app_name: who !== null ? undefined : row.source === null ? 'meshpass-broker' : 'unknown caller',
    grants: grantsOf(row),
    host: host === '' ? undefined : host,
    port: port === undefined ? undefined : Number(port),
    ...(isCounted && { bytes_in: bytesIn, bytes_out: bytesOut, bytes: bytesIn + bytesOut }),
    unix_ms: Date.parse(row.time),
    reason_text: row.reason === '' ? undefined : row.reason,
    message: [row.action, row.outcome, who, row.target].filter((part) => part !== null).join(' '),
  };
}

/** Lists a row's grants with their positions in the access file. */
function grantsOf({ rule, grant_name: names }: SealedRow): readonly string[] {
  const rules = rule?.split(', ') ?? [];
  const granted = (names ?? '').split(',').filter((name) => name !== '');
  return (granted.length === 0 ? ['unknown'] : granted).map(
    (name) => rules.find((one) => one.startsWith(`${name} `)) ?? name,
  );
}

function fill(template: Template, values: Readonly<Record<string, unknown>>): unknown {
  if (typeof template === 'string')
    return template.startsWith('$') ? (values[template.slice(1)] ?? undefined) : template;
  if (typeof template !== 'object') return template;
  if (Array.isArray(template)) {
    const items = template.map((one) => fill(one, values)).filter((one) => one !== undefined);
    return items.length === 0 ? undefined : items;
  }
  const { $if: condition, ...members } = template as { readonly [member: string]: Template };
  if (condition !== undefined && fill(condition, values) === undefined) return undefined;
  const filled = Object.entries(members).flatMap(([name, member]) => {
    const value = fill(member, values);
    return value === undefined ? [] : [[name, value] as const];
  });
  return filled.length === 0 ? undefined : Object.fromEntries(filled);
}
