/** Live sessions as the broker lists them for operators. */
import { MeshpassError } from '@meshpass/identity/error';
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

/**
 * All of them: follows the pages that the broker gives.
 * @throws MeshpassError what the broker answers, `agent_broker_unreachable`, or `agent_broker_answer_invalid` where a page leads back
 */
export async function findSessions(options: OperatorOptions & Selectors): Promise<readonly SessionRow[]> {
  const { id, user, codespace: workspace, grant } = options;
  const given = Object.entries({ id, user, workspace, grant }).filter(
    (one): one is [string, string] => one[1] !== undefined,
  );
  const call = operatorClient(options, process.env);
  const found: SessionRow[] = [];
  // A broker of an earlier version answers all at once, and knows no parameter of pages.
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams(after === undefined ? given : [...given, ['after', after]]);
    const page = (await call('GET', `/admin/sessions?${query}`)) as SessionPage;
    found.push(...page.sessions);
    if (page.next === undefined) return found;
    // It would go on for ever.
    if (page.next <= (after ?? ''))
      throw new MeshpassError('agent_broker_answer_invalid', 'The pages of sessions do not come in the order of ids.');
    after = page.next;
  }
}

interface SessionPage {
  readonly sessions: readonly SessionRow[];
  readonly next?: string;
}
