import { createInterface } from 'node:readline/promises';
import { pageUrl } from '@meshpass/identity/documentation/url';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, text, toggle } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';
import { findSessions, selectorFlags } from '../../operator/sessions.ts';

const flags = {
  ...selectorFlags,
  all: toggle('every session'),
  reason: text('<text>', 'reason for the audit log; required with --all'),
  yes: toggle('skip the confirmation prompt for --all'),
  ...operatorFlags,
  output,
};
type CloseOptions = OptionsOf<typeof flags>;

export const command = defineCommand({
  about:
    'Closes open connections, and rejects new connections and credentials. An agent that still has access opens a new session within seconds. Requires exactly one of --id, --user, --workspace, --grant and --all.',
  flags,
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
});

interface Closed {
  readonly closed: readonly string[];
  /** Ids of sessions that had already ended. */
  readonly denied: readonly string[];
}

const AGAIN =
  'An agent that still has access opens a new session within seconds. To keep a person out, first remove them from the access file ' +
  `or add them to its "deny", apply it, and close the session again (${pageUrl('docs/ending-sessions.md#by-hand')}).`;

/**
 * Closes sessions.
 * @throws MeshpassError `usage` if the selection is ambiguous, or `--all` has no reason or confirmation; `not_found` if
 *   `--id` matches nothing
 */
async function closeSessions(options: CloseOptions): Promise<void> {
  const { id, user, workspace, grant, reason, output } = options;
  const all = options.all || undefined;
  if ([id, user, workspace, grant, all].filter((one) => one !== undefined).length !== 1)
    throw new MeshpassError('usage', 'Pass exactly one of --id, --user, --workspace, --grant and --all.');
  if (all && !reason)
    throw new MeshpassError('usage', '--all ends access for everyone. Add --reason, and --yes in a script.');
  if (all && !options.yes) await confirmAll(options);
  const order = { id, user, workspace, grant, all, reason };
  const call = operatorClient(options, process.env);
  const { closed, denied } = (await call('POST', '/admin/sessions/close', order)) as Closed;
  if (id !== undefined && closed.length === 0 && denied.length === 0)
    throw new MeshpassError(
      'not_found',
      `Session ${id} does not exist. Run meshpass sessions list to list live sessions.`,
    );
  if (output === 'json') console.log(JSON.stringify({ closed, denied }));
  else if (denied.length > 0)
    console.log(
      `Session ${denied.join(', ')} had already ended. The mesh now denies any of its credentials that are still valid.`,
    );
  else if (closed.length === 0) console.log('No live session matches, so nothing was closed.');
  else
    console.log(
      `Closed ${closed.length === 1 ? '1 session' : `${closed.length} sessions`}: ${closed.join(', ')}\n${AGAIN}`,
    );
}

async function confirmAll(options: CloseOptions): Promise<void> {
  if (!process.stdin.isTTY) throw new MeshpassError('usage', '--all ends access for everyone. Confirm with --yes.');
  const sessions = await findSessions(options);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`Close all ${sessions.length} sessions? Type "yes": `);
    if (answer.trim() !== 'yes') throw new MeshpassError('usage', 'Not confirmed, so nothing was closed.');
  } finally {
    terminal.close();
  }
}
