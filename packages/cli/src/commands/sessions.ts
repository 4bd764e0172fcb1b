/** `meshpass sessions list` and `meshpass sessions close`: what an operator sees of live sessions, and ends. */
import { createInterface } from 'node:readline/promises';
import { MeshpassError } from '@meshpass/identity/error';
import type { Output } from '../command/failure.ts';
import { type OperatorOptions, operatorClient } from '../operator/client.ts';
import { type SessionRow, sessionsTable } from '../operator/sessions-table.ts';

export interface Selection {
  readonly id?: string;
  readonly user?: string;
  /** Name of the Codespace, or key of any workspace. */
  readonly codespace?: string;
  readonly grant?: string;
}

export interface ListOptions extends OperatorOptions, Selection {
  readonly output: Output;
}

export interface CloseOptions extends ListOptions {
  readonly all?: boolean;
  readonly reason?: string;
  readonly yes?: boolean;
}

export async function listSessions(options: ListOptions): Promise<void> {
  const sessions = await find(options);
  if (options.output === 'json') console.log(JSON.stringify({ sessions }, null, 2));
  else console.log(sessions.length > 0 ? sessionsTable(sessions, Date.now()) : 'No live session.');
}

/** @throws MeshpassError `usage` where it is not said, or not confirmed, what ends */
export async function closeSessions(options: CloseOptions): Promise<void> {
  const { id, user, codespace: workspace, grant, all, reason } = options;
  const said = [id, user, workspace, grant, all].filter((one) => one !== undefined);
  if (said.length !== 1)
    throw new MeshpassError('usage', 'Say what is to end by exactly one of --id, --user, --codespace, --grant, --all.');
  if (all && !options.yes) await confirmAll(options);
  const order = { id, user, workspace, grant, all, reason };
  const { closed, denied = [] } = (await operatorClient(options, process.env)(
    'POST',
    '/admin/sessions/close',
    order,
  )) as {
    closed: string[];
    /** Absent from a broker of an earlier version. */
    denied?: string[];
  };
  if (options.output === 'json') console.log(JSON.stringify({ closed, denied }));
  else if (denied.length > 0)
    console.log(
      `Session ${denied.join(', ')} was over already: what may still be valid of it is denied in the mesh now.`,
    );
  else if (closed.length === 0) console.log('No live session matches: nothing was closed.');
  else console.log(`Closed ${closed.length === 1 ? '1 session' : `${closed.length} sessions`}: ${closed.join(', ')}`);
}

async function confirmAll(options: CloseOptions): Promise<void> {
  if (!process.stdin.isTTY)
    throw new MeshpassError('usage', '--all ends the access of everybody: confirm it with --yes.');
  const sessions = await find(options);
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await asking.question(`Close all ${sessions.length} sessions? Type "yes": `);
    if (answer.trim() !== 'yes') throw new MeshpassError('usage', 'Not confirmed: nothing was closed.');
  } finally {
    asking.close();
  }
}

async function find(options: OperatorOptions & Selection): Promise<readonly SessionRow[]> {
  const { id, user, codespace: workspace, grant } = options;
  const query = new URLSearchParams(
    Object.entries({ id, user, workspace, grant }).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as [string, string]],
    ),
  );
  const answer = await operatorClient(options, process.env)('GET', `/admin/sessions?${query}`);
  return (answer as { sessions: readonly SessionRow[] }).sessions;
}
