import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatJunit, readSuite, runSuites, type SuiteResult } from '@meshpass/analysis/suite';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { argumentsOf, list, type OptionsOf, text, wholeNumber } from '../../command/flag.ts';
import { accessFile, output } from '../../command/shared-flags.ts';
import { meshFlags, readAccessFile, readPolicyInput } from '../../input/policy-input.ts';
import { readTextFile } from '../../input/text-file.ts';
import { printJson, printLines } from '../../output/print.ts';

const args = { suites: argumentsOf('test case files', { required: true }) };
const flags = {
  access: accessFile,
  manifests: list('<paths...>', 'manifest files and directories with Services, workloads and policies'),
  junit: text('<file>', 'also write the result as JUnit XML'),
  minCoverage: wholeNumber('<percent>', 'fail if cases cover less than this percentage of the rules', {
    default: '0',
  }),
  ...meshFlags,
  output,
};

export const command = defineCommand({
  about: 'Each case is a call with the expected answer.',
  args,
  flags,
  exitCodes: {
    0: 'every case passed',
    1: 'a case failed or its answer is unknown, or fewer rules than --min-coverage decided a case',
    3: 'the cluster does not respond; try again',
  },
  examples: [
    'meshpass policy test cases.yaml --access access.yaml --public-url https://broker.example.com --manifests mesh/',
  ],
  page: 'docs/policy.md',
  run: runTests,
});

/**
 * Runs the test suites.
 * @throws MeshpassError `policy_test_failed`, `policy_cases_invalid`, `access_*`, `manifest_*`, `usage`
 */
async function runTests({ suites: files, ...options }: OptionsOf<typeof args & typeof flags>): Promise<void> {
  const suites = files.map((file) => readSuite(readTextFile(file), file));
  const beside = suites.flatMap(({ file, manifests }) => manifests.map((path) => join(dirname(file), path)));
  const { resources, shape, tokens, unread } = await readPolicyInput([...options.manifests, ...beside], options);
  const result = runSuites({
    suites,
    access: readAccessFile(options.access),
    cluster: resources,
    shape,
    tokens,
    unread,
  });
  if (options.junit !== undefined) writeFileSync(options.junit, formatJunit(result));
  if (options.output === 'json') printJson(result);
  else print(result);
  const failed = result.outcomes.filter(({ passed }) => !passed).length;
  if (failed > 0) throw new MeshpassError('policy_test_failed', `${failed} of ${result.outcomes.length} cases failed.`);
  const { covered, total } = result.coverage;
  if (covered * 100 < options.minCoverage * total)
    throw new MeshpassError(
      'policy_test_failed',
      `Only ${covered} of ${total} rules decided a case, less than --min-coverage ${options.minCoverage}.`,
    );
}

function print({ outcomes, coverage }: SuiteResult): void {
  for (const { passed, file, line, name, said } of outcomes) {
    printLines(`${passed ? 'ok  ' : 'FAIL'} ${file}:${line} ${name}`, ...(passed ? [] : [`     ${said}`]));
  }
  const { covered, total, missed } = coverage;
  printLines('', `${outcomes.length} cases; ${covered} of ${total} rules decided one.`);
  printLines(...missed.map((one) => `  not covered: ${one}`));
}
