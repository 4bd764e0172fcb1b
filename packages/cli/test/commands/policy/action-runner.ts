/**
 * Runs the steps of the action one after the other, as a runner of GitHub does, with a release that is served locally, and a
 * server that answers as GitHub's REST API does for comments and code scanning.
 */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { pinned } from '../../../../../deploy/github-action/pin.ts';

export const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const ARCH = process.arch === 'arm64' ? 'arm64' : 'x64';
export const NAME = `meshpass-linux-${ARCH}`;
const REPOSITORY = '/repos/acme/platform';

interface Step {
  readonly name: string;
  readonly id?: string;
  readonly if?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly run: string;
}
interface Action {
  readonly inputs: Readonly<Record<string, { readonly default?: string }>>;
  readonly runs: { readonly steps: readonly Step[] };
}

export interface Comment {
  readonly id: number;
  body: string;
  readonly user: { readonly login: string; readonly type: string };
}

export interface Ran {
  readonly failed: string | undefined;
  /** Names of the steps that ran. */
  readonly steps: readonly string[];
  readonly output: string;
  /** What the steps added to the job summary. */
  readonly summary: string;
}

/** Event that starts the job, and what it differs in from a pull request of the repository itself. */
export interface Trigger {
  readonly event?: string;
  readonly baseSha?: string;
  readonly headSha?: string;
  readonly headRepository?: string;
  /** URL before the names of repositories. */
  readonly serverUrl?: string;
}

export class ActionRunner {
  readonly folder = mkdtempSync(join(tmpdir(), 'meshpass-steps-'));
  /** Copy of the action. */
  readonly action = join(this.folder, 'action');
  /** Workspace of the job. */
  readonly work = join(this.folder, 'work');
  readonly temp = join(this.folder, 'temp');
  archive: Buffer;
  /** Uploads to code scanning. */
  uploads: Record<string, string>[] = [];
  uploadStatus = 202;
  comments: Comment[] = [];
  /** Status for calls that write a comment, if the token may not. */
  refusal: number | undefined;
  tokens = new Set<string>();
  readonly #server: Server;
  #url = '';

  private constructor() {
    cpSync(join(ROOT, 'deploy/github-action'), this.action, { recursive: true });
    for (const name of [NAME, 'temp', 'work']) mkdirSync(join(this.folder, name));
    // In place of the executable, which takes a minute to build: the same command from its sources.
    const main = join(ROOT, 'packages/cli/src/main.ts');
    writeFileSync(join(this.folder, NAME, 'meshpass'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, {
      mode: 0o755,
    });
    execFileSync('tar', ['-czf', `${NAME}.tar.gz`, NAME], { cwd: this.folder });
    this.archive = readFileSync(join(this.folder, `${NAME}.tar.gz`));
    this.pin(this.archive);
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => this.#answer(request, response, Buffer.concat(chunks).toString()));
    });
  }

  static async start(): Promise<ActionRunner> {
    const runner = new ActionRunner();
    await new Promise<void>((resolve) => runner.#server.listen(0, '127.0.0.1', resolve));
    runner.#url = `http://127.0.0.1:${(runner.#server.address() as AddressInfo).port}`;
    return runner;
  }

  async stop(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.folder, { recursive: true });
  }

  /** Writes release.txt. */
  pin(content: Buffer): void {
    const sha256 = createHash('sha256').update(content).digest('hex');
    const sums = ['x64', 'arm64'].map((arch) => `${sha256}  meshpass-linux-${arch}.tar.gz`).join('\n');
    writeFileSync(join(this.action, 'release.txt'), pinned('1.2.3', sums));
  }

  /** @param inputs of the workflow */
  async run(inputs: Readonly<Record<string, string>>, trigger: Trigger = {}): Promise<Ran> {
    const definition = parse(readFileSync(join(this.action, 'action.yml'), 'utf8')) as Action;
    const context = this.#contextOf(definition, inputs, trigger);
    const summary = join(this.temp, 'summary');
    writeFileSync(summary, '');
    const steps: string[] = [];
    let [failed, output]: [string | undefined, string] = [undefined, ''];
    for (const step of definition.runs.steps) {
      if (!holds(context, step.if, failed !== undefined)) continue;
      steps.push(step.name);
      const ran = await this.#runStep(step, context, trigger);
      output += ran.text;
      if (ran.code !== 0) failed ??= step.name;
      for (const [, name, value] of ran.outputs.matchAll(/^(\w+)=(.*)$/gm))
        context[`steps.${step.id}.outputs.${name}`] = value!;
    }
    return { failed, steps, output, summary: readFileSync(summary, 'utf8') };
  }

  #contextOf(definition: Action, inputs: Readonly<Record<string, string>>, trigger: Trigger): Record<string, string> {
    const { event = 'pull_request', baseSha = '', headSha = '', headRepository = 'acme/platform' } = trigger;
    const context: Record<string, string> = {
      'github.event_name': event,
      'github.token': 'ghs_job',
      'github.event.pull_request.number': '7',
      'github.event.pull_request.base.sha': baseSha,
      'github.event.pull_request.head.sha': headSha,
      'github.event.pull_request.head.repo.full_name': headRepository,
    };
    for (const [name, one] of Object.entries(definition.inputs)) context[`inputs.${name}`] = one.default ?? '';
    for (const [name, one] of Object.entries({ releases: this.#url, ...inputs })) context[`inputs.${name}`] = one;
    return context;
  }

  async #runStep(
    step: Step,
    context: Readonly<Record<string, string>>,
    { serverUrl = 'https://github.com' }: Trigger,
  ): Promise<{ readonly code: number; readonly text: string; readonly outputs: string }> {
    const [script, outputs] = [join(this.temp, 'step.sh'), join(this.temp, 'outputs')];
    writeFileSync(script, step.run);
    writeFileSync(outputs, '');
    const env = {
      PATH: `${join(process.execPath, '..')}:${process.env.PATH}`,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      HOME: this.folder,
      RUNNER_TEMP: this.temp,
      GITHUB_ACTION_PATH: this.action,
      GITHUB_OUTPUT: outputs,
      GITHUB_STEP_SUMMARY: join(this.temp, 'summary'),
      GITHUB_API_URL: this.#url,
      GITHUB_SERVER_URL: serverUrl,
      GITHUB_REPOSITORY: 'acme/platform',
      GITHUB_SHA: 'a'.repeat(40),
      GITHUB_REF: 'refs/pull/7/merge',
      GITHUB_WORKSPACE: this.work,
      ...Object.fromEntries(Object.entries(step.env ?? {}).map(([name, text]) => [name, valueIn(context, text)])),
    };
    const command = ['--noprofile', '--norc', '-eo', 'pipefail', script];
    const ran = await promisify(execFile)('bash', command, { env, cwd: this.work }).then(
      ({ stdout, stderr }) => ({ code: 0, text: stdout + stderr }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        text: error.stdout + error.stderr,
      }),
    );
    return { ...ran, outputs: readFileSync(outputs, 'utf8') };
  }

  #answer(request: IncomingMessage, response: ServerResponse, text: string): void {
    const url = new URL(request.url ?? '/', 'http://github.test');
    if (url.pathname === `/v1.2.3/${NAME}.tar.gz`) {
      response.end(this.archive);
      return;
    }
    this.tokens.add(String(request.headers.authorization));
    const [status, body] = this.#respond(request.method ?? '', url, text);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  #respond(method: string, url: URL, text: string): readonly [status: number, body: unknown] {
    if (url.pathname === `${REPOSITORY}/code-scanning/sarifs`) {
      this.uploads.push(JSON.parse(text));
      return [this.uploadStatus, { id: '1' }];
    }
    const isList = url.pathname === `${REPOSITORY}/issues/7/comments`;
    if (isList && method === 'GET') {
      const [size, page] = ['per_page', 'page'].map((name) => Number(url.searchParams.get(name)));
      return [200, this.comments.slice((page! - 1) * size!, page! * size!)];
    }
    if (this.refusal !== undefined) return [this.refusal, { message: 'Resource not accessible by integration' }];
    if (isList && method === 'POST') {
      const user = { login: 'github-actions[bot]', type: 'Bot' };
      const made: Comment = { id: 1000 + this.comments.length, ...JSON.parse(text), user };
      this.comments.push(made);
      return [201, made];
    }
    const id = new RegExp(`^${REPOSITORY}/issues/comments/(\\d+)$`).exec(url.pathname)?.[1];
    const found = this.comments.find((one) => String(one.id) === id);
    if (method !== 'PATCH' || !found) return [404, { message: 'Not Found' }];
    found.body = JSON.parse(text).body;
    return [200, found];
  }
}

/** The two kinds of expressions that the action uses: `${{ a.b }}`, and conditions of them. */
function valueIn(context: Readonly<Record<string, string>>, text: string): string {
  return text.replace(/\$\{\{ *([\w.-]+) *\}\}/g, (_, name: string) => {
    const value = context[name] ?? (name.startsWith('steps.') ? '' : undefined);
    if (value === undefined) throw new Error(`an expression that a runner would take, and this test does not: ${name}`);
    return value;
  });
}

function holds(context: Readonly<Record<string, string>>, condition: string | undefined, isFailed: boolean): boolean {
  if (condition === undefined) return !isFailed;
  const parts = condition.split(' && ');
  if (isFailed && !parts.includes('always()')) return false;
  const compares = (one: string): boolean => {
    const [, name = '', operator, wanted] = /^([\w.-]+) (==|!=) '([^']*)'$/.exec(one) ?? [];
    if (operator === undefined) throw new Error(`a condition that a runner would take, and this test does not: ${one}`);
    return ((context[name] ?? '') === wanted) === (operator === '==');
  };
  return parts.every((part) => {
    if (part === 'always()') return true;
    const either = /^\((.*)\)$/.exec(part)?.[1];
    return either === undefined ? compares(part) : either.split(' || ').some(compares);
  });
}

/** Whether the executable was unpacked. */
export function isUnpacked({ temp }: ActionRunner): boolean {
  return existsSync(join(temp, 'meshpass-1.2.3', NAME));
}
