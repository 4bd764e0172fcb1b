/** `meshpass policy test`: cases beside the access file, decided without a cluster or with one. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatJunit, readSuite, runSuites, type SuiteResult } from '@meshpass/analysis/suite';
import { MeshpassError } from '@meshpass/identity/error';
import type { Output } from '../../command/failure.ts';
import { wholeNumber } from '../../input/host-port.ts';
import { type MeshFlags, readAccessFile, readPolicyInput, readText } from '../../input/policy-input.ts';

export interface TestFlags extends MeshFlags {
  readonly access: string;
  readonly manifests: readonly string[];
  readonly junit?: string;
  readonly minCoverage: string;
  readonly output: Output;
}

/** @throws MeshpassError `policy_test_failed`, `policy_cases_invalid`, `access_*`, `manifest_*`, `usage` */
export async function testPolicy(files: readonly string[], flags: TestFlags): Promise<void> {
  const least = wholeNumber(flags.minCoverage, '--min-coverage');
  const suites = files.map((file) => readSuite(readText(file), file));
  const beside = suites.flatMap(({ file, manifests }) => manifests.map((path) => join(dirname(file), path)));
  const { resources, shape, tokens, unread } = await readPolicyInput([...flags.manifests, ...beside], flags);
  const result = runSuites({ suites, access: readAccessFile(flags.access), cluster: resources, shape, tokens, unread });
  if (flags.junit !== undefined) writeFileSync(flags.junit, formatJunit(result));
  if (flags.output === 'json') console.log(JSON.stringify(result, null, 2));
  else print(result);
  const failed = result.outcomes.filter(({ passed }) => !passed).length;
  if (failed > 0) throw new MeshpassError('policy_test_failed', `${failed} of ${result.outcomes.length} cases failed.`);
  const { covered, total } = result.coverage;
  if (covered * 100 < least * total)
    throw new MeshpassError(
      'policy_test_failed',
      `Cases decide by ${covered} of ${total} rules, which is less than ${least} %.`,
    );
}

function print({ outcomes, coverage }: SuiteResult): void {
  for (const { passed, file, line, name, said } of outcomes) {
    console.log(`${passed ? 'ok  ' : 'FAIL'} ${file}:${line} ${name}${passed ? '' : `\n     ${said}`}`);
  }
  const { covered, total, missed } = coverage;
  console.log(`\n${outcomes.length} cases; ${covered} of ${total} rules decided one.`);
  for (const one of missed) console.log(`  not covered: ${one}`);
}
