/**
 * Vitest reporter: a line for each finished file, each failure in full when it happens, and a summary. Writes its result as JSON to the
 * file that the variable MESHPASS_TEST_REPORT names, for `totals.ts`. Console output of tests is printed only if they fail.
 *
 *     npx vitest run --reporter=./test/runner/reporter.ts --project unit FILE
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters, styleText } from 'node:util';
import type { Reporter, SerializedError, TestCase, TestModule, TestSuite, Vitest } from 'vitest/node';
import type {} from './lab-logs.ts';
import { lastLines, type PartLog } from './part-logs.ts';
import { describeFailure, errorLines, type FailureError } from './report/failure.ts';
import { progressLine, summaryLines } from './report/lines.ts';
import { repeatCommand } from './report/repeat-command.ts';
import type { FileReport, RunReport, TestReport } from './report/run-report.ts';
import { seedLines, seedVariables } from './report/seeds.ts';
import { skipReason } from './report/skips.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Console lines of a running test or file that are kept. */
const MAX_CONSOLE_LINES = 200;

export default class LineReporter implements Reporter {
  #vitest: Vitest | undefined;
  #began = performance.now();
  #total = 0;
  readonly #finished = new Map<string, FileReport>();
  /** Console output by id of the test or file. */
  readonly #console = new Map<string, string[]>();

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunStart(specifications: readonly unknown[]): void {
    this.#began = performance.now();
    this.#total = specifications.length;
  }

  onUserConsoleLog({ taskId, content }: { readonly taskId?: string; readonly content: string }): void {
    const lines = [...(this.#console.get(taskId ?? '') ?? []), ...content.trimEnd().split('\n')];
    this.#console.set(taskId ?? '', lines.slice(-MAX_CONSOLE_LINES));
  }

  onTestCaseResult(test: TestCase): void {
    if (test.result().state === 'failed') this.#fail(test, test.result().errors ?? [], test.meta().partLogs);
    this.#console.delete(test.id);
  }

  onTestSuiteResult(suite: TestSuite): void {
    // Logs of its parts are printed with the file, which the set-up file attaches them to.
    if (suite.errors().length > 0) this.#fail(suite, suite.errors());
  }

  onTestModuleEnd(module: TestModule): void {
    const { partLogs } = module.meta();
    if (module.errors().length > 0) this.#fail(module, module.errors(), partLogs);
    else
      for (const { name, lines } of partLogs ?? [])
        this.#print([`  log of ${name}:`, ...lines.map((line) => `    ${line}`)]);
    const report = this.#reportOf(module);
    this.#finished.set(`${module.project.name} ${module.id}`, report);
    this.#console.delete(module.id);
    this.#print([progressLine(this.#finished.size, Math.max(this.#total, this.#finished.size), report)]);
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[], reason: string): void {
    const files = modules.map(
      (module) => this.#finished.get(`${module.project.name} ${module.id}`) ?? this.#reportOf(module),
    );
    const errors = unhandled.map((error) => plain(errorLines(error as FailureError, ROOT).join('\n')));
    for (const error of errors)
      this.#print(['FAILED  outside any test', ...error.split('\n').map((line) => `  ${line}`)]);
    const report: RunReport = { files, errors };
    this.#print(['', ...summaryLines(report, performance.now() - this.#began)]);
    if (files.length === 0) this.#print(['No test file was found.']);
    if (reason === 'interrupted') this.#print(['The run was interrupted.']);
    const target = process.env.MESHPASS_TEST_REPORT;
    if (target) writeFileSync(target, JSON.stringify(report));
  }

  #reportOf(module: TestModule): FileReport {
    const file = relative(ROOT, module.moduleId);
    const { environmentSetupDuration, prepareDuration, collectDuration, setupDuration, duration } = module.diagnostic();
    const ms = environmentSetupDuration + prepareDuration + collectDuration + setupDuration + duration;
    const suites = [...module.children.allSuites()];
    const errors = [module, ...suites].flatMap((one) => one.errors()).map((error) => plain(error.message));
    const isUnfinished = module.state() === 'pending' || module.state() === 'queued';
    const unfinished = isUnfinished ? ['It did not finish: its process may have crashed.'] : [];
    const tests = [...module.children.allTests()].map((test) => this.#testReport(file, test));
    return { file, ms, tests, errors: [...errors, ...unfinished] };
  }

  #testReport(file: string, test: TestCase): TestReport {
    const name = test.fullName;
    const result = test.result();
    if (result.state === 'passed') return { name, state: 'passed' };
    if (result.state === 'failed') return { name, state: 'failed', error: plain(messageOf(result.errors[0])) };
    const reason = this.#skipReason(file, test);
    return { name, state: 'skipped', ...(reason !== undefined && { reason }) };
  }

  #skipReason(file: string, test: TestCase): string | undefined {
    if (hasFailedSuite(test) || test.result().state === 'pending')
      return 'the set-up of its suite or its process failed';
    const pattern = test.project.globalConfig.testNamePattern;
    if (pattern && !pattern.test(test.fullName)) return 'its name is not selected (-t)';
    return skipReason(file, test.fullName, process.env);
  }

  #fail(of: TestCase | TestSuite | TestModule, errors: readonly FailureError[], logs: readonly PartLog[] = []): void {
    const module = of.type === 'module' ? of : of.module;
    const file = relative(ROOT, module.moduleId);
    const output = [...(this.#console.get(module.id) ?? []), ...(this.#console.get(of.id) ?? [])];
    const { sequence } = this.#vitest!.config;
    const env = process.env;
    const failure = [...errors.map(messageOf), ...output].join('\n');
    const order = sequence.shuffle ? sequence.seed : undefined;
    const named = of.type === 'module' ? {} : ({ name: of.fullName, kind: of.type } as const);
    const lines = describeFailure(
      {
        title: of.type === 'module' ? `${file}: outside its tests` : `${file} > ${of.fullName}`,
        errors,
        seeds: seedLines({ env, failure, source: sourceOf(module), order }),
        load: loadavg(),
        processors: availableParallelism(),
        parts: [...logs, ...(output.length > 0 ? [{ name: 'the console', lines: lastLines(output) }] : [])],
        repeat: repeatCommand({ project: module.project.name, file, ...named, env: seedVariables(env) }),
      },
      ROOT,
    );
    this.#print(lines);
  }

  #print(lines: readonly string[]): void {
    const text = `${lines.join('\n')}\n`;
    process.stdout.write(isColoured() ? text : plain(text));
  }
}

/** Whether standard output is a terminal that wants colours. */
function isColoured(): boolean {
  return styleText('red', 'x', { stream: process.stdout }) !== 'x';
}

/** Removes colours. */
function plain(text: string): string {
  return stripVTControlCharacters(text);
}

function messageOf(error: FailureError | undefined): string {
  return error ? `${error.name ?? 'Error'}: ${error.message}` : '';
}

function hasFailedSuite(test: TestCase): boolean {
  let parent: TestSuite | TestModule = test.parent;
  while (parent.type === 'suite') {
    if (parent.errors().length > 0) return true;
    parent = parent.parent;
  }
  return parent.errors().length > 0;
}

function sourceOf(module: TestModule): string {
  try {
    return readFileSync(module.moduleId, 'utf8');
  } catch {
    return ''; // it has been removed meanwhile
  }
}
