/** Rows of the audit log. */
import { OPERATOR_HOST } from './operator.ts';
import { expectThat, type Scene } from './scene.ts';

interface Row {
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
}

const SHOWN = 8;

/** @param operator environment of the signed-in operator */
export async function auditTrail({ lab, story }: Scene, operator: Readonly<Record<string, string>>): Promise<void> {
  story.chapter('The audit log', 'every decision, grants and refusals, durable before it is answered');
  const argv = ['meshpass', 'audit', 'tail', '--lines', '1000', '--output', 'json'];
  const { code, stdout, stderr } = await lab.exec(OPERATOR_HOST, argv, { env: operator });
  expectThat(code === 0, `the audit log cannot be read: ${stderr}`);
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
  const counts = new Map<string, number>();
  for (const { action, outcome, code } of rows) {
    const what = `${action} ${outcome}${code ? ` (${code})` : ''}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  const refusals = rows.filter(({ outcome }) => outcome === 'refused').length;
  expectThat(refusals > 0, 'the audit log holds no refusal');
  story.done(`${rows.length} decisions, ${refusals} of them refusals; the most frequent:`);
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  story.lines(most.map(([what, count]) => `${String(count).padStart(4)}  ${what}`));
}
