/** Live sessions as the broker lists them for operators. */
import { type OptionsOf, text } from '../command/flag.ts';
import { type OperatorOptions, operatorClient } from './client.ts';
import type { SessionRow } from './sessions-table.ts';

/** Which sessions a command is about. */
export const selectorFlags = {
  id: text('<id>', 'one session'),
  user: text('<login>', 'sessions of a login, or of a subject such as github:583231'),
  codespace: text('<name>', 'the session of a Codespace or another workspace'),
  grant: text('<name>', 'sessions that hold this grant'),
};

export type Selectors = OptionsOf<typeof selectorFlags>;

/** @throws MeshpassError what the broker answers, or `agent_broker_unreachable` */
export async function findSessions(options: OperatorOptions & Selectors): Promise<readonly SessionRow[]> {
  const { id, user, codespace: workspace, grant } = options;
  const given = Object.entries({ id, user, workspace, grant }).filter(
    (one): one is [string, string] => one[1] !== undefined,
  );
  const answer = await operatorClient(options, process.env)('GET', `/admin/sessions?${new URLSearchParams(given)}`);
  return (answer as { sessions: readonly SessionRow[] }).sessions;
}
