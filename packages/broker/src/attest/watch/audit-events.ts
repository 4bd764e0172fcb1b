/**
 * Parses GitHub's audit log as streamed to an HTTP Event Collector (Splunk's protocol). The body is a sequence of JSON
 * objects, with or without line breaks, or an array of objects. Each object is an event, or an envelope with the event
 * in `event`. https://docs.github.com/enterprise-cloud@latest/admin/monitoring-activity-in-your-enterprise
 */
import { MeshpassError } from '@meshpass/identity';
import { structuralCharacters } from '@meshpass/identity/jws/json';
import { z } from 'zod';

/** Event about a Codespace that was stopped or deleted. */
export interface CodespaceEvent {
  readonly action: 'codespaces.destroy' | 'codespaces.suspend_environment';
  /** Codespace name; some versions of GitHub omit it. */
  readonly name?: string;
  /** Login of the Codespace's owner. */
  readonly owner?: string;
  /** GitHub's event id. */
  readonly id?: string;
}

/** Event about a user who lost a membership, or part of one. */
export interface MemberEvent {
  readonly action: (typeof MEMBER_ACTIONS)[number];
  /** Login, lower case; absent for events about whole teams. */
  readonly user?: string;
  readonly userId?: number;
  /** Organization login, lower case. */
  readonly organization?: string;
  /** `ORG/SLUG`, lower case. */
  readonly team?: string;
  readonly id?: string;
}

export type AuditEvent = CodespaceEvent | MemberEvent;

const CODESPACE_ACTIONS = ['codespaces.destroy', 'codespaces.suspend_environment'] as const;
/** https://docs.github.com/enterprise-cloud@latest/admin/monitoring-activity-in-your-enterprise, "Audit log events" */
const MEMBER_ACTIONS = [
  ...(['team.remove_member', 'team.destroy'] as const),
  ...(['org.remove_member', 'org.update_member', 'org.block_user'] as const),
] as const;

const text = z.string().min(1).max(255).optional().catch(undefined);
const lower = text.transform((value) => value?.toLowerCase());
const CodespaceEvent = z.object({
  action: z.enum(CODESPACE_ACTIONS),
  name: text,
  owner: text,
  user: text,
  _document_id: text,
});
const MemberEvent = z.object({
  action: z.enum(MEMBER_ACTIONS),
  user: lower,
  blocked_user: lower,
  user_id: z.int().positive().optional().catch(undefined),
  org: lower,
  team: lower,
  _document_id: text,
});

/**
 * Parses the relevant events in a body and skips all others.
 * @param body whole and decompressed
 * @throws MeshpassError `request_malformed` if it is not JSON
 */
export function readAuditEvents(body: string): AuditEvent[] {
  return [...jsonValues(body)].flatMap(unwrap).flatMap((value) => codespaceEvent(value) ?? memberEvent(value) ?? []);
}

function codespaceEvent(value: unknown): CodespaceEvent | undefined {
  const event = CodespaceEvent.safeParse(value).data;
  if (!event) return undefined;
  const { action, name, owner = event.user, _document_id: id } = event;
  return { action, ...(name && { name }), ...(owner && { owner }), ...(id && { id }) };
}

function memberEvent(value: unknown): MemberEvent | undefined {
  const event = MemberEvent.safeParse(value).data;
  if (!event) return undefined;
  const { action, blocked_user, user = blocked_user, user_id: userId, team, _document_id: id } = event;
  const organization = event.org ?? team?.split('/')[0];
  // An event without a subject would apply to every session.
  if (!user && !userId && !(action === 'team.destroy' && team)) return undefined;
  return {
    action,
    ...(user && { user }),
    ...(userId && { userId }),
    ...(organization && { organization }),
    ...(team && { team }),
    ...(id && { id }),
  };
}

function unwrap(value: unknown): unknown[] {
  if (Array.isArray(value)) return value.flatMap((one) => (Array.isArray(one) ? [] : unwrap(one)));
  const event = (value as { event?: unknown } | null)?.event;
  if (typeof event === 'object' && event !== null) return [event];
  if (typeof event !== 'string') return [value];
  try {
    return [JSON.parse(event)];
  } catch {
    // Plain text is not an audit log event.
    return [];
  }
}

/** Splits a text into its top-level JSON values. */
function* jsonValues(body: string): Generator<unknown> {
  let start = 0;
  let depth = 0;
  for (const at of structuralCharacters(body)) {
    if ('{['.includes(body[at]!)) depth++;
    else if ('}]'.includes(body[at]!) && --depth === 0) {
      yield parse(body.slice(start, at + 1));
      start = at + 1;
    }
  }
  if (body.slice(start).trim() !== '') throw malformed();
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw malformed();
  }
}

function malformed(): MeshpassError {
  return new MeshpassError('request_malformed', 'The body must be a sequence of JSON objects.');
}
