import { MeshpassError, pageUrl } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { type OptionsOf, text, toggle } from '../command/flag.ts';
import type { Answer } from '../command/outcome.ts';
import { operatorFlags, output, TOKEN_ENV } from '../command/shared-flags.ts';
import { createOperatorClient, type OperatorOptions } from '../operator/client.ts';
import { formatTable } from '../output/table.ts';

const COLUMNS = ['id', 'login', 'subject', 'workspace', 'grants', 'opened_at', 'expires_at', 'lease_expires_at'];

/** The flags that select sessions. */
const selectorFlags = {
  id: text('<id>', 'the session with this ID'),
  user: text('<login>', 'sessions of this login, or of a subject such as github:583231'),
  workspace: text('<name>', 'the session of this workspace, by Codespace name or workspace key'),
  grant: text('<name>', 'sessions that have this grant'),
};
const closeFlags = {
  ...selectorFlags,
  all: toggle('every session'),
  reason: text('<text>', 'reason for the audit log; required with --all'),
  yes: toggle('confirm --all'),
  ...operatorFlags,
  output,
};
type CloseOptions = OptionsOf<typeof closeFlags>;

export const commands = {
  list: defineCommand({
    flags: { ...selectorFlags, ...operatorFlags, output },
    env: TOKEN_ENV,
    examples: ['meshpass sessions list --grant payments-dev', 'meshpass sessions list --output json'],
    page: 'docs/operating-broker.md',
    run: async (options) => {
      const sessions = await findSessions(options);
      const sorted = sessions.toSorted((a, b) => a.login.localeCompare(b.login) || a.opened_at - b.opened_at);
      const text = () => (sorted.length > 0 ? formatTable(sorted, COLUMNS) : ['No live sessions.']);
      return { json: { sessions }, text };
    },
  }),
  close: defineCommand({
    about:
      'Closes open connections, and rejects new connections and credentials. An agent that still has access opens a new session within seconds. Requires exactly one of --id, --user, --workspace, --grant and --all.',
    flags: closeFlags,
    exitCodes: {
      0: 'closed, or no live session matches',
      1: 'no session has the ID given by --id, or the broker rejected the request',
    },
    env: TOKEN_ENV,
    examples: [
      'meshpass sessions close --user mona --reason "left the team"',
      'meshpass sessions close --all --yes --reason "a leak"',
    ],
    page: 'docs/operating-broker.md',
    run: closeSessions,
  }),
};

interface Closed {
  readonly closed: readonly string[];
  /** The IDs of sessions that had already ended and whose credentials are now denied. */
  readonly denied: readonly string[];
}

const AGAIN =
  'An agent that still has access opens a new session within seconds. To keep a person out, first remove them from the access file ' +
  `or add them to its "deny", apply it, and close the session again (${pageUrl('docs/ending-sessions.md#by-hand')}).`;

/**
 * Closes the selected sessions.
 * @throws MeshpassError `usage` if the selection is ambiguous, or if `--all` is used without a reason or confirmation;
 *   `not_found` if no session matches `--id`
 */
async function closeSessions(options: CloseOptions): Promise<Answer> {
  const { id, user, workspace, grant, reason } = options;
  const all = options.all || undefined;
  if ([id, user, workspace, grant, all].filter((one) => one !== undefined).length !== 1)
    throw new MeshpassError('usage', 'Pass exactly one of --id, --user, --workspace, --grant and --all.');
  if (all && !reason) throw new MeshpassError('usage', '--all ends access for everyone. Add --reason and --yes.');
  if (all && !options.yes) throw new MeshpassError('usage', '--all ends access for everyone. Confirm with --yes.');
  const order = { id, user, workspace, grant, all, reason };
  const { closed, denied } = (await createOperatorClient(options)('POST', '/admin/sessions/close', order)) as Closed;
  if (id !== undefined && closed.length === 0 && denied.length === 0)
    throw new MeshpassError(
      'not_found',
      `Session ${id} does not exist. Run meshpass sessions list to list live sessions.`,
    );
  return { json: { closed, denied }, text: () => closedText({ closed, denied }) };
}

function closedText({ closed, denied }: Closed): readonly string[] {
  if (denied.length > 0)
    return [
      `Session ${denied.join(', ')} had already ended. The mesh now denies any of its credentials that are still valid.`,
    ];
  if (closed.length === 0) return ['No live session matches, so nothing was closed.'];
  return [formatClosedSessions(closed), AGAIN];
}

/** Formats the IDs of closed sessions. */
export function formatClosedSessions(ids: readonly string[]): string {
  return `Closed ${ids.length === 1 ? '1 session' : `${ids.length} sessions`}: ${ids.join(', ')}`;
}

/**
 * Lists all sessions that match the flags, fetching every page from the broker.
 * @throws MeshpassError `agent_broker_unreachable`, `agent_broker_answer_invalid` if the pages are out of order, or the
 *   error that the broker returns
 */
async function findSessions(
  options: OperatorOptions & OptionsOf<typeof selectorFlags>,
): Promise<readonly SessionRow[]> {
  const { id, user, workspace, grant } = options;
  const given = Object.entries({ id, user, workspace, grant }).filter(
    (one): one is [string, string] => one[1] !== undefined,
  );
  const call = createOperatorClient(options);
  const found: SessionRow[] = [];
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams(after === undefined ? given : [...given, ['after', after]]);
    const page = (await call('GET', `/admin/sessions?${query}`)) as SessionPage;
    found.push(...page.sessions);
    if (page.next === undefined) return found;
    // Prevent an endless loop if the broker returns the same page again.
    if (page.next <= (after ?? ''))
      throw new MeshpassError('agent_broker_answer_invalid', 'The broker returned session pages out of order.');
    after = page.next;
  }
}

interface SessionRow {
  readonly login: string;
  /** When the session was opened, in Unix seconds. */
  readonly opened_at: number;
}

interface SessionPage {
  readonly sessions: readonly SessionRow[];
  readonly next?: string;
}
