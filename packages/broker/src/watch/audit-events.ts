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

const text = z.string().min(1).max(255).optional().catch(undefined);
const Event = z.object({
  action: z.enum(['codespaces.destroy', 'codespaces.suspend_environment']),
  name: text,
  owner: text,
  user: text,
  _document_id: text,
});

/**
 * @param body whole and decompressed
 * @returns the events that concern us; all others are left out
 * @throws MeshpassError `request_malformed` where it is not JSON
 */
export function readCodespaceEvents(body: string): CodespaceEvent[] {
  return [...jsonValues(body)].flatMap(unwrap).flatMap((value) => {
    const event = Event.safeParse(value);
    if (!event.success) return [];
    const { action, name, owner = event.data.user, _document_id: id } = event.data;
    return [{ action, ...(name && { name }), ...(owner && { owner }), ...(id && { id }) }];
  });
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
  return new MeshpassError('request_malformed', 'The body is not JSON objects, one after the other.');
}
