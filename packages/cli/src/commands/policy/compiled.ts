/** Defines the commands that compile an access file for a mesh to print the result, plan a change, or run tests. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compile, formatManifests, loadAccess } from '@meshpass/access';
import { meshOf } from '@meshpass/access/compile';
import { planChange } from '@meshpass/analysis/plan';
import { formatJunit, readSuite, runSuites, type SuiteResult } from '@meshpass/analysis/suite';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../../command/define.ts';
import { list, type OptionsOf, text, variadicArgument, wholeNumber } from '../../command/flag.ts';
import { type Answer, printAnswer, printErrorLines } from '../../command/outcome.ts';
import { accessFile, output } from '../../command/shared-flags.ts';
import { readTextFile, withFlagName } from '../../input/files.ts';
import { MESH_PATHS, meshFlags, readAccessFile, readPolicyInput } from '../../input/policy-input.ts';
import { assumptionJson } from '../../output/decision-text.ts';
import { planAnswer, planExitCode, planOutput } from '../../output/plan.ts';

const args = { paths: MESH_PATHS };
const compileFlags = {
  access: accessFile,
  jwks: text('<file>', 'JWKS of identity tokens; without it, RequestAuthentication is left to the broker'),
  ...meshFlags,
};
const planFlags = {
  access: accessFile,
  from: text('<file>', 'the current access file, to show everything that the new file adds and removes'),
  ...meshFlags,
  output: planOutput,
};
const testArgs = { suites: variadicArgument('test case files', { required: true }) };
const testFlags = {
  access: accessFile,
  manifests: list('<paths...>', 'manifest files and directories with Services, workloads and policies'),
  junit: text('<file>', 'also write the result as JUnit XML'),
  minCoverage: wholeNumber('<percent>', 'fail if cases cover less than this percentage of the rules', {
    default: '0',
  }),
  ...meshFlags,
  output,
};

export const commands = {
  compile: defineCommand({
    about: 'For GitOps: the same input always produces the same text, ready to commit and apply.',
    args,
    flags: compileFlags,
    examples: [
      'meshpass policy compile --access access.yaml --public-url https://broker.example.com mesh/ > meshpass.yaml',
    ],
    page: 'docs/policy.md',
    run: compilePolicy,
  }),
  plan: defineCommand({
    about: 'Shows the resources that change, the calls that become possible or impossible, and the people affected.',
    args,
    flags: planFlags,
    exitCodes: {
      0: 'can be applied',
      1: 'rejected',
      3: 'the cluster does not respond; try again',
      4: 'rejected only because it is unknown whether every grant works',
    },
    examples: [
      'meshpass policy plan --access new.yaml --from access.yaml --public-url https://broker.example.com mesh/',
    ],
    page: 'docs/policy.md',
    run: plan,
  }),
  test: defineCommand({
    about: 'Each case is a call with the expected answer.',
    args: testArgs,
    flags: testFlags,
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
  }),
};

/**
 * Compiles the access file and prints the manifests.
 * @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable`
 */
async function compilePolicy({ paths, ...options }: OptionsOf<typeof args & typeof compileFlags>): Promise<void> {
  // Use a file name without a path, as the broker does, so that both produce the same output.
  const { access } = withFlagName('--access', () => loadAccess(options.access));
  const { resources, shape, tokens, unread } = await readPolicyInput(paths, options);
  if (unread !== undefined) printErrorLines(unread);
  const manifests = compile(access, meshOf(resources, shape), tokens);
  // Without --jwks, leave out RequestAuthentication. Only the broker knows the keys, so it writes that object itself,
  // even with GitOps.
  const written =
    options.jwks === undefined ? manifests.filter(({ kind }) => kind !== 'RequestAuthentication') : manifests;
  process.stdout.write(formatManifests(written));
}

/**
 * Plans a change to the access file.
 * @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable`, `policy_too_large`
 */
async function plan({ paths, output, ...options }: OptionsOf<typeof args & typeof planFlags>): Promise<Answer> {
  const access = readAccessFile(options.access);
  const { resources, shape, trustDomainAliases, tokens, unread } = await readPolicyInput(paths, options);
  const planned = planChange({
    access,
    cluster: resources,
    shape,
    trustDomainAliases,
    tokens,
    unread,
    ...(options.from !== undefined && { inForce: readAccessFile(options.from, '--from') }),
  });
  const { id, state, resources: changed, reach, changes, findings, assumed, unplaced } = planned;
  const json = { id, state, resources: changed, reach, changes, findings, ...assumptionJson(assumed, unplaced) };
  return { ...planAnswer(planned, output, json), exit: planExitCode(planned) };
}

/**
 * Runs the test suites and prints the results.
 * @throws MeshpassError `policy_test_failed`, `policy_cases_invalid`, `access_*`, `manifest_*`, `usage`
 */
async function runTests({ suites: files, ...options }: OptionsOf<typeof testArgs & typeof testFlags>): Promise<void> {
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
  printAnswer({ json: result, text: () => resultLines(result) }, options.output);
  const failed = result.outcomes.filter(({ passed }) => !passed).length;
  if (failed > 0) throw new MeshpassError('policy_test_failed', `${failed} of ${result.outcomes.length} cases failed.`);
  const { covered, total } = result.coverage;
  if (covered * 100 < options.minCoverage * total)
    throw new MeshpassError(
      'policy_test_failed',
      `Only ${covered} of ${total} rules decided a case, less than --min-coverage ${options.minCoverage}.`,
    );
}

function resultLines({ outcomes, coverage }: SuiteResult): readonly string[] {
  const { covered, total, missed } = coverage;
  return [
    ...outcomes.flatMap(({ passed, file, line, name, said }) => {
      return [`${passed ? 'ok  ' : 'FAIL'} ${file}:${line} ${name}`, ...(passed ? [] : [`     ${said}`])];
    }),
    '',
    `${outcomes.length} cases; ${covered} of ${total} rules decided one.`,
    ...missed.map((one) => `  not covered: ${one}`),
  ];
}
