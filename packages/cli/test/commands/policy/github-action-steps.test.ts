/** The steps of the action: the executable, the linter, code scanning, and test cases. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Ajv } from 'ajv';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pinned } from '../../../../../deploy/github-action/pin.ts';
import { ActionRunner, isUnpacked, ROOT } from './action-runner.ts';

let runner: ActionRunner;
beforeEach(async () => {
  runner = await ActionRunner.start();
});
afterEach(() => runner.stop());

const runAction = (inputs: Readonly<Record<string, string>>, event = 'pull_request') => runner.run(inputs, { event });

/** The sample mesh has one finding, and its cases pass. */
function checkOut(): void {
  cpSync(join(ROOT, 'lab/samples'), runner.work, { recursive: true });
}

describe('without a broker', () => {
  it('lints, uploads the findings though they fail the job, and plans nothing', async () => {
    checkOut();
    const { failed, steps, output } = await runAction({ manifests: 'mesh', suites: 'cases.yaml', sarif: 'true' });
    expect(output).toContain('::error');
    expect(output).toContain('file=mesh/shop.yaml');
    expect([failed, steps]).toEqual(['Lint', ['Set up', 'Lint', 'Upload findings', 'Compare', 'Comment']]);
    expect(runner.uploads).toMatchObject([{ commit_sha: 'a'.repeat(40), ref: 'refs/pull/7/merge' }]);
    const sarif = JSON.parse(gunzipSync(Buffer.from(runner.uploads[0]!.sarif!, 'base64')).toString());
    expect(sarif).toMatchObject({ version: '2.1.0', runs: [{ results: [{ ruleId: 'MP101' }] }] });
    const [place] = sarif.runs[0].results[0].locations;
    expect(place.physicalLocation.artifactLocation.uri).toBe('mesh/shop.yaml');
    expect(isUpload(runner.uploads[0])).toEqual([]);
  });

  it('decides the cases', async () => {
    checkOut();
    const inputs = { manifests: 'mesh', suites: 'cases.yaml', 'fail-on': 'never' };
    const { failed, steps, output } = await runAction(inputs, 'push');
    expect([failed, steps], output).toEqual([undefined, ['Set up', 'Lint', 'Test']]);
    expect(readFileSync(join(runner.temp, 'meshpass-junit.xml'), 'utf8')).toContain('<testsuite');
  });

  it('lints by settings outside the checkout, which replace those of the pull request', async () => {
    checkOut();
    writeFileSync(join(runner.work, 'meshpass-lint.yaml'), 'severities: {MP101: {severity: off, reason: trust me}}\n');
    expect((await runAction({ manifests: 'mesh' })).failed).toBeUndefined();
    const rules = join(runner.folder, 'the rules.yaml');
    writeFileSync(rules, '');
    const { failed, output } = await runAction({ manifests: 'mesh', rules });
    expect(failed).toBe('Lint');
    expect(output).toContain('title=settings::');
  });

  it('treats no file of a pull request as a flag, with any name', async () => {
    checkOut();
    const mark = join(runner.folder, 'ran');
    const plugin = { apiVersion: 'client.authentication.k8s.io/v1', command: 'touch', args: [mark] };
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'a',
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      clusters: [{ name: 'a', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'a', user: { exec: { ...plugin, interactiveMode: 'Never' } } }],
    };
    writeFileSync(join(runner.work, 'x.yaml'), JSON.stringify(kubeconfig));
    // Files that match the pattern *.yaml.
    writeFileSync(join(runner.work, '--kubeconfig=x.yaml'), '');
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
    runner.uploadStatus = 403;
    const inputs = { manifests: 'mesh', sarif: 'true', 'fail-on': 'never' };
    const { failed, output } = await runAction(inputs);
    expect(failed).toBeUndefined();
    expect(output).toContain('::warning title=Meshpass::Could not upload the findings to code scanning (403)');
    runner.uploadStatus = 422;
    expect((await runAction(inputs)).failed).toBe('Upload findings');
  });
});

describe('the executable', () => {
  it('is not run if it differs from the pinned one', async () => {
    const other = Buffer.from(runner.archive);
    other[other.length - 1]! ^= 1;
    runner.archive = other;
    const { failed, steps, output } = await runAction({ manifests: 'mesh' });
    expect([failed, steps]).toEqual(['Set up', ['Set up']]);
    expect(output).toContain('Nothing was run.');
    expect(isUnpacked(runner)).toBe(false);
  });

  it('is not downloaded if no release is pinned, or none exists for the machine', async () => {
    cpSync(join(ROOT, 'deploy/github-action/release.txt'), join(runner.action, 'release.txt'));
    expect((await runAction({})).output).toContain('does not pin a release');
    const uname = join(runner.folder, 'uname');
    writeFileSync(uname, '#!/bin/sh\necho Darwin\n', { mode: 0o755 });
    const { stdout } = spawnSync('bash', [join(runner.action, 'setup.sh')], {
      env: { PATH: `${runner.folder}:${process.env.PATH}`, MESHPASS: '', GITHUB_ACTION_PATH: runner.action },
      encoding: 'utf8',
    });
    expect(stdout).toContain('No executable is available for Darwin');
  });

  it('can be another command, which is then run as it is', async () => {
    const { failed, steps } = await runAction({ meshpass: 'true', manifests: 'mesh' });
    expect([failed, steps]).toEqual([undefined, ['Set up', 'Lint', 'Compare', 'Comment']]);
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
    expect((await runAction(broker, 'pull_request')).steps).toEqual(['Set up', 'Plan', 'Comment']);
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
