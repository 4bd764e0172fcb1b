import { defineCommand } from '../../command/define.ts';
import { output } from '../../command/shared-flags.ts';
import { AUTHOR_ENV, asAuthor, authorFlags } from '../../operator/policy.ts';
import { printJson, printLines } from '../../output/print.ts';

interface History {
  readonly versions: readonly { version: number; time: string; by: string; reason: string; plan: string }[];
}

export const command = defineCommand({
  about: 'Queries --broker as a GitHub Actions job, or --operator as an operator.',
  flags: { ...authorFlags, output },
  env: AUTHOR_ENV,
  examples: ['meshpass policy history --operator http://127.0.0.1:9090'],
  page: 'docs/access/ways-to-change-access.md',
  run: async ({ output, ...options }) => {
    const answer = (await (await asAuthor(options))('GET', '/policy/history')) as History;
    if (output === 'json') return printJson(answer);
    if (answer.versions.length === 0) printLines('No access file was applied by plan. The file on disk is in effect.');
    for (const { version, time, reason, plan } of answer.versions)
      printLines(`${String(version).padStart(4)}  ${time}  ${plan.slice(0, 12)}  ${reason}`);
  },
});
