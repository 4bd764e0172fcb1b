import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { output } from '../../command/shared-flags.ts';
import { exitCodeFor, findingText } from '../../doctor/line.ts';
import { appFlags, checkAppBy } from '../../github-app/flags.ts';

export const command = defineCommand({
  about:
    'Asks as the App: whether GitHub knows its key, where it is installed, which permissions it lacks or need not have, and how many calls are left.',
  flags: { ...appFlags, output },
  exitCodes: {
    0: 'nothing is missing; warnings may be there',
    1: 'something is missing',
    3: 'GitHub does not answer; try again',
  },
  examples: ['meshpass github-app check --github-app 123456 --github-app-key github-app.pem --organization acme'],
  page: 'docs/github/app.md',
  run: async ({ output, ...options }) => {
    const look = checkAppBy(options);
    if (!look) throw new MeshpassError('usage', 'Name the App by --github-app and --github-app-key.');
    const findings = await look();
    console.log(output === 'json' ? JSON.stringify({ findings }, null, 2) : findings.map(findingText).join('\n'));
    return exitCodeFor(findings);
  },
});
