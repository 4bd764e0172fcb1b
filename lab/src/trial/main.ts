#!/usr/local/bin/node
/**
 * `meshpass-insecure-trial VERB`: what a trial of the chart runs beside Meshpass (docs/install/trial.md). NOT FOR PRODUCTION: `github` issues
 * tokens of people who do not exist, and the broker of a trial believes them. Only the image of the trial contains it.
 */
import { parseArgs } from 'node:util';
import { call } from './call.ts';
import { cleanUp } from './clean-up.ts';
import { runCodespace } from './codespace.ts';
import { runGithub } from './github.ts';

const VERBS: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  github: async (args) => {
    const { values } = parseArgs({
      args,
      options: { cert: { type: 'string' }, key: { type: 'string' }, 'app-key': { type: 'string' } },
    });
    await runGithub({ cert: values.cert!, key: values.key!, appKey: values['app-key']! });
  },
  codespace: async ([granted, refused]) => await runCodespace(granted!, refused!),
  call: async ([url]) => console.log(await call(url!)),
  'clean-up': async ([namespace, secret]) => await cleanUp(namespace!, secret!),
};

const [verb = '', ...args] = process.argv.slice(2);
const run = VERBS[verb];
if (!run) {
  console.error(`meshpass-insecure-trial ${Object.keys(VERBS).join('|')}`);
  process.exit(2);
}
run(args).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
