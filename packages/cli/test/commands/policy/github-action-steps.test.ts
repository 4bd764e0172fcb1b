/** The steps of the action, run one after the other as a runner of GitHub does, with a release that is served locally. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { Ajv } from 'ajv';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { pinned } from '../../../../../deploy/github-action/pin.ts';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const ARCH = process.arch === 'arm64' ? 'arm64' : 'x64';
const NAME = `meshpass-linux-${ARCH}`;

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

let folder: string;
let action: string;
let server: Server;
let url: string;
/** Uploads to code scanning. */
let uploads: Record<string, string>[];
let uploadStatus: number;
let archive: Buffer;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-steps-'));
  action = join(folder, 'action');
  cpSync(join(ROOT, 'deploy/github-action'), action, { recursive: true });
  for (const name of [NAME, 'temp', 'work']) mkdirSync(join(folder, name));
  // In place of the executable, which takes a minute to build: the same command from its sources.
  const main = join(ROOT, 'packages/cli/src/main.ts');
  writeFileSync(join(folder, NAME, 'meshpass'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, {
    mode: 0o755,
  });
  execFileSync('tar', ['-czf', `${NAME}.tar.gz`, NAME], { cwd: folder });
  archive = readFileSync(join(folder, `${NAME}.tar.gz`));
  pin(archive);
  [uploads, uploadStatus] = [[], 202];
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url === `/v1.2.3/${NAME}.tar.gz`) return response.end(archive);
      if (request.url !== '/repos/acme/platform/code-scanning/sarifs') return response.writeHead(404).end();
      uploads.push(JSON.parse(Buffer.concat(chunks).toString()));
      response.writeHead(uploadStatus, { 'content-type': 'application/json' }).end('{"id": "1"}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

function pin(content: Buffer): void {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const sums = ['x64', 'arm64'].map((arch) => `${sha256}  meshpass-linux-${arch}.tar.gz`).join('\n');
  writeFileSync(join(action, 'release.txt'), pinned('1.2.3', sums));
}

/** The two kinds of expressions that the action uses: `${{ a.b }}`, and conditions of them. */
function valueIn(context: Readonly<Record<string, string>>, text: string): string {
  return text.replace(/\$\{\{ *([\w.-]+) *\}\}/g, (_, name: string) => context[name] ?? '');
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

interface Ran {
  readonly failed: string | undefined;
  /** Names of the steps that ran. */
  readonly steps: readonly string[];
  readonly output: string;
}

/** @param inputs of the workflow */
async function runAction(inputs: Readonly<Record<string, string>>, event = 'pull_request'): Promise<Ran> {
  const definition = parse(readFileSync(join(action, 'action.yml'), 'utf8')) as Action;
  const context: Record<string, string> = { 'github.event_name': event, 'github.token': 'ghs_job' };
  for (const [name, one] of Object.entries(definition.inputs)) context[`inputs.${name}`] = one.default ?? '';
  for (const [name, one] of Object.entries({ releases: url, ...inputs })) context[`inputs.${name}`] = one;
  const steps: string[] = [];
  let [failed, output]: [string | undefined, string] = [undefined, ''];
  for (const step of definition.runs.steps) {
    if (!holds(context, step.if, failed !== undefined)) continue;
    steps.push(step.name);
    const script = join(folder, 'temp/step.sh');
    const outputs = join(folder, 'temp/outputs');
    writeFileSync(script, step.run);
    writeFileSync(outputs, '');
    const env = {
      PATH: `${join(process.execPath, '..')}:${process.env.PATH}`,
      HOME: folder,
      RUNNER_TEMP: join(folder, 'temp'),
      GITHUB_ACTION_PATH: action,
      GITHUB_OUTPUT: outputs,
      GITHUB_STEP_SUMMARY: join(folder, 'temp/summary'),
      GITHUB_API_URL: url,
      GITHUB_REPOSITORY: 'acme/platform',
      GITHUB_SHA: 'a'.repeat(40),
      GITHUB_REF: 'refs/pull/7/merge',
      GITHUB_WORKSPACE: join(folder, 'work'),
      ...Object.fromEntries(Object.entries(step.env ?? {}).map(([name, text]) => [name, valueIn(context, text)])),
    };
    const command = ['--noprofile', '--norc', '-eo', 'pipefail', script];
    const { code, text } = await promisify(execFile)('bash', command, { env, cwd: join(folder, 'work') }).then(
      ({ stdout, stderr }) => ({ code: 0, text: stdout + stderr }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        text: error.stdout + error.stderr,
      }),
    );
    output += text;
    if (code !== 0) failed ??= step.name;
    for (const [, name, value] of readFileSync(outputs, 'utf8').matchAll(/^(\w+)=(.*)$/gm))
      context[`steps.${step.id}.outputs.${name}`] = value!;
  }
  return { failed, steps, output };
}

/** The sample mesh has one finding, and its cases pass. */
function checkOut(): void {
  cpSync(join(ROOT, 'lab/samples'), join(folder, 'work'), { recursive: true });
}

describe('without a broker', () => {
  it('lints, uploads the findings though they fail the job, and plans nothing', async () => {
    checkOut();
    const { failed, steps, output } = await runAction({ manifests: 'mesh', suites: 'cases.yaml', sarif: 'true' });
    expect(output).toContain('::error');
    expect(output).toContain('file=mesh/shop.yaml');
    expect([failed, steps]).toEqual(['Lint', ['Set up', 'Lint', 'Upload findings']]);
    expect(uploads).toMatchObject([{ commit_sha: 'a'.repeat(40), ref: 'refs/pull/7/merge' }]);
    const sarif = JSON.parse(gunzipSync(Buffer.from(uploads[0]!.sarif!, 'base64')).toString());
    expect(sarif).toMatchObject({ version: '2.1.0', runs: [{ results: [{ ruleId: 'MP101' }] }] });
    const [place] = sarif.runs[0].results[0].locations;
    expect(place.physicalLocation.artifactLocation.uri).toBe('mesh/shop.yaml');
    expect(isUpload(uploads[0])).toEqual([]);
  });

  it('decides the cases', async () => {
    checkOut();
    const inputs = { manifests: 'mesh', suites: 'cases.yaml', 'fail-on': 'never' };
    const { failed, steps, output } = await runAction(inputs, 'push');
    expect([failed, steps], output).toEqual([undefined, ['Set up', 'Lint', 'Test']]);
    expect(readFileSync(join(folder, 'temp/meshpass-junit.xml'), 'utf8')).toContain('<testsuite');
  });

  it('lints by settings outside the checkout, which replace those of the pull request', async () => {
    checkOut();
    writeFileSync(join(folder, 'work/meshpass-lint.yaml'), 'severities: {MP101: {severity: off, reason: trust me}}\n');
    expect((await runAction({ manifests: 'mesh' })).failed).toBeUndefined();
    const rules = join(folder, 'the rules.yaml');
    writeFileSync(rules, '');
    const { failed, output } = await runAction({ manifests: 'mesh', rules });
    expect(failed).toBe('Lint');
    expect(output).toContain('title=settings::');
  });

  it('treats no file of a pull request as a flag, with any name', async () => {
    checkOut();
    const mark = join(folder, 'ran');
    const plugin = { apiVersion: 'client.authentication.k8s.io/v1', command: 'touch', args: [mark] };
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'a',
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      clusters: [{ name: 'a', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'a', user: { exec: { ...plugin, interactiveMode: 'Never' } } }],
    };
    writeFileSync(join(folder, 'work/x.yaml'), JSON.stringify(kubeconfig));
    // Files that match the pattern *.yaml.
    writeFileSync(join(folder, 'work/--kubeconfig=x.yaml'), '');
    const found: Record<string, string>[] = [
      { manifests: '*.yaml' },
      { suites: '*.yaml' },
      { suites: 'cases.yaml', manifests: '*x.yaml' },
    ];
    for (const inputs of found) {
      await runAction({ 'fail-on': 'never', ...inputs });
      expect(existsSync(mark), JSON.stringify(inputs)).toBe(false);
    }
  });

  it('only warns if code scanning is not available, as for pull requests from forks', async () => {
    checkOut();
    uploadStatus = 403;
    const inputs = { manifests: 'mesh', sarif: 'true', 'fail-on': 'never' };
    const { failed, output } = await runAction(inputs);
    expect(failed).toBeUndefined();
    expect(output).toContain('::warning title=Meshpass::Could not upload the findings to code scanning (403)');
    uploadStatus = 422;
    expect((await runAction(inputs)).failed).toBe('Upload findings');
  });
});

describe('the executable', () => {
  it('is not run if it differs from the pinned one', async () => {
    const other = Buffer.from(archive);
    other[other.length - 1]! ^= 1;
    archive = other;
    const { failed, steps, output } = await runAction({ manifests: 'mesh' });
    expect([failed, steps]).toEqual(['Set up', ['Set up']]);
    expect(output).toContain('Nothing was run.');
    expect(existsSync(join(folder, 'temp/meshpass-1.2.3', NAME))).toBe(false);
  });

  it('is not downloaded if no release is pinned, or none exists for the machine', async () => {
    cpSync(join(ROOT, 'deploy/github-action/release.txt'), join(action, 'release.txt'));
    expect((await runAction({})).output).toContain('does not pin a release');
    const uname = join(folder, 'uname');
    writeFileSync(uname, '#!/bin/sh\necho Darwin\n', { mode: 0o755 });
    const { stdout } = spawnSync('bash', [join(action, 'setup.sh')], {
      env: { PATH: `${folder}:${process.env.PATH}`, MESHPASS: '', GITHUB_ACTION_PATH: action },
      encoding: 'utf8',
    });
    expect(stdout).toContain('No executable is available for Darwin');
  });

  it('can be another command, which is then run as it is', async () => {
    const { failed, steps } = await runAction({ meshpass: 'true', manifests: 'mesh' });
    expect([failed, steps]).toEqual([undefined, ['Set up', 'Lint']]);
  });

  it('is pinned by version and both hashes, or not at all', () => {
    const sha256 = '0'.repeat(64);
    expect(() => pinned('latest', '')).toThrow('not a valid version');
    expect(() => pinned('1.2.3', `${sha256}  meshpass-linux-x64.tar.gz\n`)).toThrow('meshpass-linux-arm64.tar.gz');
  });
});

describe('with a broker', () => {
  it('plans on a pull request and applies on a push or when it is run by hand, and does neither for other events', async () => {
    const broker = { broker: 'https://127.0.0.1:1', meshpass: 'true' };
    expect((await runAction(broker, 'push')).steps).toEqual(['Set up', 'Apply']);
    expect((await runAction(broker, 'workflow_dispatch')).steps).toEqual(['Set up', 'Apply']);
    expect((await runAction(broker, 'pull_request')).steps).toEqual(['Set up', 'Plan and comment']);
    expect((await runAction(broker, 'schedule')).steps).toEqual(['Set up']);
  });
});

/** Checks a request against GitHub's published description. @returns problems */
function isUpload(body: unknown): unknown {
  const file = createRequire(join(ROOT, 'lab/package.json')).resolve('@octokit/openapi/generated/api.github.com.json');
  const { paths, components } = JSON.parse(readFileSync(file, 'utf8'));
  const ajv = new Ajv({ strict: false, logger: false });
  const { schema } = paths['/repos/{owner}/{repo}/code-scanning/sarifs'].post.requestBody.content['application/json'];
  const validate = ajv.compile({ ...schema, components });
  return validate(body) ? [] : validate.errors;
}
