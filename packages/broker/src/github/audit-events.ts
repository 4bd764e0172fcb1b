/**
 * GitHub's audit log as it is streamed to an HTTP Event Collector (Splunk's protocol): JSON objects one after the other, with
 * or without line ends between them, each an event or an envelope with the event in `event`; or an array of such.
 * https://docs.github.com/enterprise-cloud@latest/admin/monitoring-activity-in-your-enterprise
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';

/** A Codespace is said to have stopped, or to be deleted. */
export interface CodespaceEvent {
  readonly action: 'codespaces.destroy' | 'codespaces.suspend_environment';
  /** Name of the Codespace; some versions of GitHub leave it out. */
  readonly name?: string;
  /** Login of its developer. */
  readonly owner?: string;
  /** GitHub's id of the event. */
  readonly id?: string;
}

/** Somebody is said to have lost a membership, or to have less of one. */
export interface MemberEvent {
  readonly action: (typeof MEMBER_ACTIONS)[number];
  /** Login, lower case. Of whole teams there is none. */
  readonly user?: string;
  readonly userId?: number;
  /** Login of the organization, lower case. */
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
 * @param body whole and decompressed
 * @returns the events that concern us; all others are left out
 * @throws MeshpassError `request_malformed` where it is not JSON
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
  // What names nobody and nothing would be a question about everybody.
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
    // An event that is plain text is none of GitHub's audit log.
    return [];
  }
}

/** Values at the top of a text that may hold several. */
function* jsonValues(body: string): Generator<unknown> {
  let start = -1;
  let depth = 0;
  let inString = false;
  for (let at = 0; at < body.length; at++) {
    const character = body[at]!;
    if (inString) {
      if (character === '\\') at++;
      else if (character === '"') inString = false;
    } else if (character === '"' && depth > 0) inString = true;
    else if (character === '{' || character === '[') {
      if (depth++ === 0) start = at;
    } else if ((character === '}' || character === ']') && depth > 0) {
      if (--depth === 0) yield parse(body.slice(start, at + 1));
    } else if (depth === 0 && !/\s/.test(character)) throw malformed();
  }
  if (depth > 0) throw malformed();
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
