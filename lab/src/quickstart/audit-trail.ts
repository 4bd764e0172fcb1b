/** What the audit log recorded. */
import { expectThat, type Scene } from './scene.ts';

interface Row {
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
}

const SHOWN = 8;

export async function auditTrail({ meshpass, story }: Scene): Promise<void> {
  story.chapter('The audit log', 'every decision, grants and refusals, durable before it is answered');
  const headers = { authorization: `Bearer ${meshpass.operatorToken}` };
  const answer = await fetch(`${meshpass.operatorUrl}/audit?limit=1000`, { headers });
  expectThat(answer.ok, `the audit log cannot be read: ${answer.status}`);
  const { rows } = (await answer.json()) as { rows: Row[] };
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
