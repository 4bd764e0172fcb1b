/**
 * Parses GitHub's audit log as it is streamed to an HTTP Event Collector (Splunk's protocol). The body is either an
 * array of JSON objects or a sequence of them, which may be separated by line breaks. Each object is either an event or
 * an envelope whose `event` field contains the event.
 * https://docs.github.com/enterprise-cloud@latest/admin/monitoring-activity-in-your-enterprise
 */
import { MeshpassError, structuralCharacters } from '@meshpass/identity';
import { z } from 'zod';

const text = z.string().min(1).max(255).optional().catch(undefined);
const lower = text.transform((value) => value?.toLowerCase());

/** An event about a Codespace that was stopped or deleted. Some versions of GitHub omit the name of the Codespace. */
const CodespaceEvent = z
  .object({
    action: z.enum(['codespaces.destroy', 'codespaces.suspend_environment']),
    name: text,
    owner: text,
    user: text,
    _document_id: text,
  })
  .transform(({ action, name, user, owner = user, _document_id: id }) => ({ action, name, owner, id }));

/**
 * An event about a user who lost some or all of a membership, or about an entire team
 * (https://docs.github.com/enterprise-cloud@latest/admin/monitoring-activity-in-your-enterprise, "Audit log events").
 */
const MemberEvent = z
  .object({
    action: z.enum([
      ...(['team.remove_member', 'team.destroy'] as const),
      ...(['org.remove_member', 'org.update_member', 'org.block_user'] as const),
    ]),
    user: lower,
    blocked_user: lower,
    user_id: z.int().positive().optional().catch(undefined),
    org: lower,
    /** The team's name, in the form `ORG/SLUG`. */
    team: lower,
    _document_id: text,
  })
  .transform(({ action, blocked_user, user = blocked_user, user_id: userId, org, team, _document_id: id }) => {
    const organization = org ?? team?.split('/')[0];
    return { action, user, userId, organization, team, id };
  })
  // An event that identifies neither a user nor a team would affect every session.
  .refine(({ action, user, userId, team }) => user || userId || (action === 'team.destroy' && team));

export type CodespaceEvent = z.infer<typeof CodespaceEvent>;
export type MemberEvent = z.infer<typeof MemberEvent>;
export type GithubAuditEvent = CodespaceEvent | MemberEvent;

const Event = z.union([CodespaceEvent, MemberEvent]);

/**
 * Parses the relevant events in a request body and skips all others.
 * @param body the complete, decompressed body
 * @throws MeshpassError `request_malformed` if the body is not valid JSON
 */
export function parseAuditEvents(body: string): GithubAuditEvent[] {
  return [...jsonValues(body)].flatMap(unwrap).flatMap((value) => Event.safeParse(value).data ?? []);
}

function unwrap(value: unknown): unknown[] {
  if (Array.isArray(value)) return value.flatMap((one) => (Array.isArray(one) ? [] : unwrap(one)));
  const event = (value as { event?: unknown } | null)?.event;
  if (typeof event === 'object' && event !== null) return [event];
  if (typeof event !== 'string') return [value];
  try {
    return [JSON.parse(event)];
  } catch {
    // The envelope contains plain text, so it is not an audit log event.
    return [];
  }
}

/** Splits a string into its top-level JSON values. */
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
