import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { output } from '../../command/shared-flags.ts';
import { printFindings } from '../../diagnosis/print.ts';
import { diagnose } from '../../diagnosis/run.ts';
import { appFlags, checkAppBy } from '../../github-app/flags.ts';

export const command = defineCommand({
  about:
    'Signs in as the App and checks its key, its installations, missing and unneeded permissions, and the remaining rate limit.',
  flags: { ...appFlags, output },
  exitCodes: {
    0: 'nothing is missing; there may be warnings',
    1: 'something is missing',
    3: 'GitHub does not respond; try again',
  },
  examples: ['meshpass github-app check --github-app 123456 --github-app-key github-app.pem --organization acme'],
  page: 'docs/github/app.md',
  run: async ({ output, ...options }) => {
    const check = checkAppBy(options);
    if (!check) throw new MeshpassError('usage', 'Pass --github-app and --github-app-key.');
    return printFindings(await diagnose([check]), output);
  },
});
