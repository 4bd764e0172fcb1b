import { createInterface } from 'node:readline/promises';
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
  yes: toggle('do not ask for confirmation of --all'),
  ...operatorFlags,
  output,
};
type CloseOptions = OptionsOf<typeof flags>;

export const command = defineCommand({
  about:
    'New and open connections die, and credentials are refused. Needs exactly one of --id, --user, --codespace, --grant and --all.',
  flags,
  exitCodes: { 0: 'closed, or no live session matches', 1: 'no session has the id of --id, or the broker refused' },
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
  /** Absent from a broker of an earlier version. */
  readonly denied?: readonly string[];
}

/** @throws MeshpassError `usage` where the selection is ambiguous, or `--all` has no reason or is not confirmed; `not_found` where `--id` matches nothing */
async function closeSessions(options: CloseOptions): Promise<void> {
  const { id, user, codespace: workspace, grant, reason, output } = options;
  const all = options.all || undefined;
  if ([id, user, workspace, grant, all].filter((one) => one !== undefined).length !== 1)
    throw new MeshpassError(
      'usage',
      'Select the sessions with exactly one of --id, --user, --codespace, --grant, --all.',
    );
  if (all && !reason)
    throw new MeshpassError(
      'usage',
      '--all ends the access of everybody: say why with --reason, and in a script --yes.',
    );
  if (all && !options.yes) await confirmAll(options);
  const order = { id, user, workspace, grant, all, reason };
  const call = operatorClient(options, process.env);
  const { closed, denied = [] } = (await call('POST', '/admin/sessions/close', order)) as Closed;
  if (id !== undefined && closed.length === 0 && denied.length === 0)
    throw new MeshpassError(
      'not_found',
      `No session has the id ${id}. List live sessions with meshpass sessions list.`,
    );
  if (output === 'json') console.log(JSON.stringify({ closed, denied }));
  else if (denied.length > 0)
    console.log(
      `Session ${denied.join(', ')} had already ended; credentials of it that may still be valid are now denied in the mesh.`,
    );
  else if (closed.length === 0) console.log('No live session matches: nothing was closed.');
  else console.log(`Closed ${closed.length === 1 ? '1 session' : `${closed.length} sessions`}: ${closed.join(', ')}`);
}

async function confirmAll(options: CloseOptions): Promise<void> {
  if (!process.stdin.isTTY) throw new MeshpassError('usage', '--all ends the access of everybody. Confirm with --yes.');
  const sessions = await findSessions(options);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`Close all ${sessions.length} sessions? Type "yes": `);
    if (answer.trim() !== 'yes') throw new MeshpassError('usage', 'Not confirmed: nothing was closed.');
  } finally {
    terminal.close();
  }
}
