/** Live sessions, as the broker lists them for operators. */
import { MeshpassError } from '@meshpass/identity/error';
import { type OptionsOf, text } from '../command/flag.ts';
import { type OperatorOptions, operatorClient } from './client.ts';
import type { SessionRow } from './sessions-table.ts';

/** Flags that select sessions. */
export const selectorFlags = {
  id: text('<id>', 'the session with this ID'),
  user: text('<login>', 'sessions of this login, or of a subject such as github:583231'),
  workspace: text('<name>', 'the session of this workspace, by Codespace name or workspace key'),
  grant: text('<name>', 'sessions that have this grant'),
};

export type Selectors = OptionsOf<typeof selectorFlags>;

/**
 * Lists all matching sessions, following the broker's pages.
 * @throws MeshpassError the broker's codes, `agent_broker_unreachable`, or `agent_broker_answer_invalid` if the pages
 *   are out of order
 */
export async function findSessions(options: OperatorOptions & Selectors): Promise<readonly SessionRow[]> {
  const { id, user, workspace, grant } = options;
  const given = Object.entries({ id, user, workspace, grant }).filter(
    (one): one is [string, string] => one[1] !== undefined,
  );
  const call = operatorClient(options, process.env);
  const found: SessionRow[] = [];
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams(after === undefined ? given : [...given, ['after', after]]);
    const page = (await call('GET', `/admin/sessions?${query}`)) as SessionPage;
    found.push(...page.sessions);
    if (page.next === undefined) return found;
    // Prevents an endless loop.
    if (page.next <= (after ?? ''))
      throw new MeshpassError('agent_broker_answer_invalid', 'The broker returned session pages out of order.');
    after = page.next;
  }
}

interface SessionPage {
  readonly sessions: readonly SessionRow[];
  readonly next?: string;
}
