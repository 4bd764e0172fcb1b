/** The comparison of a pull request with its base commit, in real Git repositories. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ActionRunner } from './action-runner.ts';

const MESH = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}
`;
const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec: {rules: [{from: [{source: {namespaces: [NAMESPACE]}}]}]}
`;
const ROUTE = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec: {hosts: [HOST], gateways: [istio-ingress/public], http: [{match: [{uri: {prefix: /orders}}], route: [{destination: {host: orders}}]}]}
`;

let runner: ActionRunner;
/** Repository on GitHub. */
let origin: string;
beforeEach(async () => {
  runner = await ActionRunner.start();
  origin = join(runner.folder, 'origin');
  mkdirSync(origin);
  git(origin, 'init', '--quiet', '--initial-branch=main');
  git(origin, 'config', 'uploadpack.allowAnySHA1InWant', 'true');
});
afterEach(() => runner.stop());

function git(cwd: string, ...argv: readonly string[]): string {
  const env = {
    PATH: process.env.PATH,
    HOME: runner.folder,
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@acme.test',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@acme.test',
  };
  return execFileSync('git', argv, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** @param files text of each; undefined for one that is removed. @returns the commit's SHA */
function commit(files: Readonly<Record<string, string | undefined>>): string {
  for (const [name, text] of Object.entries(files)) {
    const file = join(origin, name);
    mkdirSync(dirname(file), { recursive: true });
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
  }
  git(origin, 'add', '--all');
  git(origin, 'commit', '--quiet', '--allow-empty', '--message=change');
  return git(origin, 'rev-parse', 'HEAD');
}

interface PullRequest {
  readonly baseSha: string;
  readonly headSha: string;
}

/** Makes a pull request, and the merge commit that GitHub makes for it. */
function openPullRequest(base: Parameters<typeof commit>[0], change: Parameters<typeof commit>[0]): PullRequest {
  const baseSha = commit(base);
  git(origin, 'switch', '--quiet', '--create', 'feature');
  const headSha = commit(change);
  git(origin, 'switch', '--quiet', 'main');
  return { baseSha, headSha };
}

/** Checks out as actions/checkout does for a pull request: the merge commit alone. */
function checkOut(depth: readonly string[] = ['--depth=1']): void {
  git(origin, 'switch', '--quiet', '--detach', 'main');
  git(origin, 'merge', '--quiet', '--no-ff', '--no-edit', 'feature');
  git(origin, 'update-ref', 'refs/pull/7/merge', 'HEAD');
  git(origin, 'switch', '--quiet', 'main');
  git(runner.work, 'init', '--quiet');
  git(runner.work, 'remote', 'add', 'origin', `file://${origin}`);
  git(runner.work, 'fetch', '--quiet', '--no-tags', ...depth, 'origin', '+refs/pull/7/merge:refs/remotes/pull/7/merge');
  git(runner.work, 'checkout', '--quiet', '--force', 'refs/remotes/pull/7/merge');
}

const INPUTS = { manifests: 'mesh', 'fail-on': 'never' };

async function compare(pullRequest: PullRequest, inputs: Readonly<Record<string, string>> = {}) {
  const ran = await runner.run({ ...INPUTS, ...inputs }, pullRequest);
  expect(ran.failed, ran.output).toBeUndefined();
  expect(runner.comments).toHaveLength(1);
  return { ...ran, body: runner.comments[0]!.body };
}

describe('compares with the base commit', () => {
  const mesh = {
    'mesh/mesh.yaml': MESH,
    'mesh/policy.yaml': POLICY.replace('NAMESPACE', 'web'),
    'mesh/route.yaml': ROUTE.replace('HOST', 'old.example.com'),
  };
  const change = {
    'mesh/policy.yaml': POLICY.replace('NAMESPACE', 'istio-ingress'),
    'mesh/route.yaml': ROUTE.replace('HOST', 'new.example.com'),
  };

  it.each([
    ['a shallow checkout', ['--depth=1']],
    ['a full one', []],
  ])('from %s', async (_, depth) => {
    const pullRequest = openPullRequest(mesh, change);
    checkOut(depth);
    const { body, output } = await compare(pullRequest);
    expect(body).toContain('### Calls\n\n**3 opened, 2 closed, 0 unknown**: ');
    const [opens, closes] = body.split('#### Closes');
    expect(opens).toContain('anyone outside gains any method /orders* of new.example.com');
    expect(opens).toContain('workloads of namespace istio-ingress gain every call on orders in shop');
    expect(opens).toContain('(base/mesh/policy.yaml:1)');
    expect(opens).toContain('(head/mesh/policy.yaml:4)');
    expect(closes).toContain('workloads of namespace web lose every call on orders in shop');
    expect(body).toContain('### New ways from outside\n\n#### External access: 1 open, 0 unknown, 0 closed');
    expect(body).toContain('any method /orders* of new.example.com` | `Gateway');
    expect(body).toContain(
      `Commit ${pullRequest.headSha.slice(0, 12)}, compared with ${pullRequest.baseSha.slice(0, 12)}`,
    );
    expect(body).not.toContain(runner.folder);
    expect(output).toContain('workloads of namespace web lose');
  });

  it('with a checkout of the head alone, whose base moved on', async () => {
    const { baseSha: began, headSha } = openPullRequest(mesh, change);
    const baseSha = commit({ 'mesh/policy.yaml': POLICY.replace('NAMESPACE', 'other') });
    git(runner.folder, 'clone', '--quiet', `file://${origin}`, 'work');
    git(runner.work, 'checkout', '--quiet', headSha);
    const { body } = await compare({ baseSha, headSha });
    expect(body).toContain(`compared with ${began.slice(0, 12)}`);
    expect(body).not.toContain('namespace other');
  });

  it('of new and removed manifests, of several patterns, and links', async () => {
    const pullRequest = openPullRequest(
      {
        'mesh/mesh.yaml': MESH,
        'mesh/route.yaml': mesh['mesh/route.yaml'],
        'apps/a b/mesh.yaml': MESH,
        'old/x.yaml': POLICY.replace('NAMESPACE', 'istio-ingress'),
      },
      { 'old/x.yaml': undefined, 'new/route.yaml': ROUTE.replace('HOST', 'added.example.com') },
    );
    git(origin, 'switch', '--quiet', 'feature');
    symlinkSync('../new/route.yaml', join(origin, 'apps/link.yaml'));
    rmSync(join(origin, 'mesh/route.yaml'));
    const headSha = commit({ 'old/keep.yaml': MESH });
    git(origin, 'switch', '--quiet', 'main');
    checkOut();
    const { body } = await compare({ ...pullRequest, headSha }, { manifests: 'mesh/*.yaml old apps' });
    expect(body).toContain('gains any method /orders* of added.example.com');
    expect(body).toContain('(head/apps/link.yaml:4)');
    expect(body).toContain('loses any method /orders* of old.example.com');
    expect(body).toContain('(base/old/x.yaml:1) allows it');
  });

  it('in a private repository, whose credentials are not in the checkout', async () => {
    const pullRequest = openPullRequest(mesh, change);
    checkOut();
    const { server, seen } = servePrivate();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const serverUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    git(runner.work, 'remote', 'set-url', 'origin', `${serverUrl}/origin`);
    // As a checkout that keeps its credentials, which have ended.
    git(runner.work, 'config', `http.${serverUrl}/.extraheader`, 'AUTHORIZATION: basic b2xk');
    const ran = await runner.run(INPUTS, { ...pullRequest, serverUrl });
    await new Promise((resolve) => server.close(resolve));
    expect(runner.comments[0]!.body, ran.output).toContain('gain every call on orders in shop');
    expect(new Set(seen)).toEqual(new Set([TOKEN]));
    expect(ran.output).not.toContain('ghs_job');
    expect(ran.output).not.toContain(btoa('x-access-token:ghs_job'));
  });
});

describe('what is missing is part of the comment, and does not fail the job:', () => {
  const mesh = { 'mesh/mesh.yaml': MESH };
  const change = { 'mesh/route.yaml': ROUTE.replace('HOST', 'shop.example.com') };

  it('a base commit that cannot be fetched', async () => {
    const pullRequest = openPullRequest(mesh, change);
    checkOut();
    git(runner.work, 'remote', 'set-url', 'origin', `file://${origin}-gone`);
    const { body } = await compare(pullRequest);
    expect(body.match(/\*\*Not compared\.\*\*/g)).toHaveLength(2);
    expect(body).toContain(`The base commit ${pullRequest.baseSha} is not in this checkout and could not be fetched`);
    expect(body).toContain('Check out with fetch-depth: 0.');
  });

  it('manifests that are rendered, unless the state before is an input', async () => {
    const pullRequest = openPullRequest(mesh, change);
    checkOut();
    const [before, after] = [join(runner.temp, 'before.yaml'), join(runner.temp, 'after.yaml')];
    writeFileSync(before, MESH);
    writeFileSync(after, `${MESH}---\n${ROUTE.replace('HOST', 'rendered.example.com')}`);
    writeFileSync(join(runner.work, 'mesh/rendered.yaml'), ROUTE.replace('HOST', 'rendered.example.com'));
    expect((await compare(pullRequest, { manifests: after })).body).toContain('not part of the repository');
    expect((await compare(pullRequest)).body).toContain('mesh/rendered.yaml is not part of the commit');
    const { body } = await compare(pullRequest, { manifests: after, base: before });
    expect(body).toContain('gains any method /orders* of rendered.example.com');
    expect(body).not.toContain('Not compared');
  });

  it('a checkout without Git', async () => {
    writeFileSync(join(runner.work, 'mesh.yaml'), MESH);
    const { body } = await compare({ baseSha: '', headSha: '' }, { manifests: 'mesh.yaml' });
    expect(body).toContain('The working directory is not the root of a Git checkout.');
  });

  it('a side that cannot be read', async () => {
    const broken = { ...mesh, 'mesh/policy.yaml': POLICY.replace('{source', '{sauce') };
    const pullRequest = openPullRequest(broken, { ...change, 'mesh/policy.yaml': POLICY });
    checkOut();
    expect((await compare(pullRequest)).body).toMatch(
      /\*\*Not compared\.\*\*\n\n```\nmeshpass: base\/mesh\/policy\.yaml:4:\d+/,
    );
  });
});

describe('hides nothing of either commit:', () => {
  const DENY = POLICY.replace('spec: {', 'spec: {action: DENY, ').replace('NAMESPACE', 'istio-ingress');
  const mesh = { 'mesh/mesh.yaml': MESH, 'mesh/deny.yaml': DENY };
  const gone = { 'mesh/deny.yaml': undefined };

  it.each(['working-tree-encoding=UTF-16LE', 'export-ignore', 'filter=lfs'])(
    'a policy that is removed with the attribute %s',
    async (attribute) => {
      const pullRequest = openPullRequest(mesh, { ...gone, '.gitattributes': `mesh/deny.yaml ${attribute}\n` });
      checkOut();
      git(runner.work, 'config', 'filter.lfs.smudge', 'tr a-z b-za');
      const { body } = await compare(pullRequest);
      expect(body).toContain('**2 opened, 0 closed, 0 unknown**');
      expect(body).toContain('workloads of namespace istio-ingress gain every call on orders in shop');
    },
  );

  it('a manifest that the checkout decodes', async () => {
    const pullRequest = openPullRequest(mesh, { '.gitattributes': 'mesh/deny.yaml working-tree-encoding=UTF-7\n' });
    checkOut();
    // The linter cannot read it either.
    expect((await runner.run(INPUTS, pullRequest)).failed).toBe('Lint');
    expect(runner.comments[0]!.body).toContain(
      'Manifests with a working-tree-encoding are not compared: mesh/deny.yaml: working-tree-encoding: UTF-7',
    );
  });

  it('a file that is no text of manifests', async () => {
    const wide = Buffer.from(DENY, 'utf16le').toString();
    const pullRequest = openPullRequest({ ...mesh, 'mesh/deny.yaml': wide }, gone);
    checkOut();
    const { body } = await compare(pullRequest);
    expect(body).toMatch(/\*\*0 opened, 0 closed, [1-9]\d* unknown\*\*/);
    expect(body).toContain('base/mesh/deny.yaml');
  });

  it.each([
    ['base', 'a directory', '../lib'],
    ['base', 'a directory outside the repository', '/usr'],
    ['head', 'a directory', '../lib'],
    ['head', 'nothing', '../submodule/mesh'],
  ])('a link that only the %s has, to %s', async (side, _, target) => {
    const files = { 'mesh/mesh.yaml': MESH, 'lib/deny.yaml': DENY };
    symlink(side === 'base' ? target : undefined);
    const baseSha = commit(files);
    git(origin, 'switch', '--quiet', '--create', 'feature');
    symlink(side === 'head' ? target : undefined);
    const headSha = commit({ 'mesh/more.yaml': MESH });
    git(origin, 'switch', '--quiet', 'main');
    checkOut();
    const { body } = await compare({ baseSha, headSha });
    expect(body).toMatch(/\*\*0 opened, 0 closed, [1-9]\d* unknown\*\*/);
    expect(body).toContain(`${side}/mesh/lib: it is not a regular file`);
  });

  it.each(['mesh', 'mesh/lib/k8s'])('a submodule that the change removes, compared as %s', async (manifests) => {
    commit(mesh);
    const id = git(origin, 'rev-parse', 'HEAD');
    git(origin, 'update-index', '--add', '--cacheinfo', `160000,${id},mesh/lib`);
    git(origin, 'commit', '--quiet', '--message=submodule');
    const baseSha = git(origin, 'rev-parse', 'HEAD');
    git(origin, 'switch', '--quiet', '--create', 'feature');
    git(origin, 'rm', '--quiet', '--cached', 'mesh/lib');
    const headSha = commit({ 'mesh/lib/k8s/x.yaml': MESH });
    git(origin, 'switch', '--quiet', '--force', 'main');
    rmSync(join(origin, 'mesh/lib'), { recursive: true, force: true });
    checkOut();
    const { body } = await compare({ baseSha, headSha }, { manifests });
    expect(body).toContain(
      manifests === 'mesh' ? 'base/mesh/lib: it is not a regular file' : 'mesh/lib is a Git submodule or a link',
    );
    expect(body).not.toContain('0 unknown**');
  });

  it('paths outside the checkout', async () => {
    const pullRequest = openPullRequest(mesh, gone);
    checkOut();
    for (const [name, text] of Object.entries({
      'rendered/app.yaml': MESH,
      'before/app.yaml': `${MESH}---\n${DENY}`,
    })) {
      mkdirSync(dirname(join(runner.folder, name)));
      writeFileSync(join(runner.folder, name), text);
    }
    const { body } = await compare(pullRequest, { manifests: '../rendered', base: '../before' });
    expect(body).toContain('**2 opened, 0 closed, 0 unknown**');
    expect((await compare(pullRequest, { manifests: '../rendered' })).body).toContain('not part of the repository');
  });

  it('a manifest whose name has another ending', async () => {
    const pullRequest = openPullRequest({ ...mesh, 'mesh/policy': DENY }, { 'mesh/policy': MESH });
    checkOut();
    const { body } = await compare(pullRequest, { manifests: 'mesh/*.yaml mesh/policy' });
    expect(body).toContain('mesh/policy is not compared, because its name does not end in .yaml, .yml or .json.');
  });

  it('manifests in node_modules', async () => {
    const pullRequest = openPullRequest(mesh, { 'mesh/node_modules/x.yaml': MESH });
    checkOut();
    expect((await compare(pullRequest)).body).toContain('Manifests in node_modules are not compared.');
  });

  function symlink(target: string | undefined): void {
    mkdirSync(join(origin, 'mesh'), { recursive: true });
    rmSync(join(origin, 'mesh/lib'), { force: true });
    if (target !== undefined) symlinkSync(target, join(origin, 'mesh/lib'));
  }
});

it('writes the comment into the job summary of a pull request from a fork', async () => {
  const pullRequest = openPullRequest(
    { 'mesh/mesh.yaml': MESH },
    { 'mesh/route.yaml': ROUTE.replace('HOST', 'x.example.com') },
  );
  checkOut();
  runner.refusal = 403;
  const { failed, summary } = await runner.run(INPUTS, { ...pullRequest, headRepository: 'mallory/platform' });
  expect([failed, runner.comments]).toEqual([undefined, []]);
  expect(summary).toContain('gains any method /orders* of x.example.com');
});

it('turns no text of manifests into markup, mentions or commands of the runner', async () => {
  const hostile =
    'a```\n````\n</details><img src=x>\n::error::b @acme/admins ##[error]c <!-- --> [x](https://evil.example)|`';
  const named = (text: string) => text.replace('name: orders', `name: ${JSON.stringify(hostile)}`);
  const route = named(ROUTE)
    .replace('HOST', JSON.stringify(`*.${hostile}`))
    .replace('/orders', JSON.stringify(`/${hostile}`));
  const pullRequest = openPullRequest(
    { 'mesh/mesh.yaml': MESH, 'mesh/policy.yaml': named(POLICY.replace('NAMESPACE', JSON.stringify(hostile))) },
    { 'mesh/policy.yaml': POLICY.replace('NAMESPACE', 'web'), 'mesh/@acme ::error::x.yaml': route },
  );
  checkOut();
  const { body, output } = await compare(pullRequest);
  expect(body).toContain('@acme/admins');
  expect(outsideOfCode(body)).not.toMatch(/@acme|<img|evil|::error|<\/details|<!-- -->/);
  // The runner executes a line that begins with :: or contains ##[, unless its commands are stopped.
  expect(commandsIn(output)).not.toContainEqual(expect.stringMatching(/acme|::error::[bx]/));
});

/** Removes code blocks, which end at a fence like their first, and code spans. */
function outsideOfCode(markdown: string): string {
  const kept: string[] = [];
  let fence: string | undefined;
  for (const line of markdown.split('\n')) {
    const found = /^`{3,}/.exec(line)?.[0];
    if (fence !== undefined) fence = line === fence ? undefined : fence;
    else if (found) fence = found;
    else kept.push(line.replace(/`[^`]*`/g, ''));
  }
  expect(fence).toBeUndefined();
  return kept.join('\n');
}

function commandsIn(output: string): readonly string[] {
  const commands: string[] = [];
  let stopped: string | undefined;
  for (const line of output.split(/\r?\n/)) {
    if (stopped !== undefined) stopped = line.trim() === `::${stopped}::` ? undefined : stopped;
    else {
      stopped = /^\s*::stop-commands::(.*)$/.exec(line)?.[1];
      if (/^\s*::|##\[/.test(line) && stopped === undefined) commands.push(line);
    }
  }
  return commands;
}

/** Serves the repositories of the folder over HTTP, as GitHub does, to the token of the job alone. */
function servePrivate(): { readonly server: Server; readonly seen: readonly (string | undefined)[] } {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    if (request.headers.authorization !== TOKEN) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="GitHub"' }).end();
      return;
    }
    const { pathname, search } = new URL(request.url ?? '/', 'http://github.test');
    const env = {
      PATH: process.env.PATH,
      HOME: runner.folder,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROJECT_ROOT: runner.folder,
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      ...(request.headers['content-encoding'] && { HTTP_CONTENT_ENCODING: request.headers['content-encoding'] }),
    };
    const cgi = spawn('git', ['http-backend'], { env });
    request.pipe(cgi.stdin);
    const chunks: Buffer[] = [];
    cgi.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    cgi.on('close', () => {
      const all = Buffer.concat(chunks);
      const end = all.indexOf('\r\n\r\n');
      const lines = all.subarray(0, end).toString().split('\r\n');
      const headers = lines.map((line) => line.split(': ')).filter(([name]) => name !== 'Status');
      response.writeHead(200, Object.fromEntries(headers)).end(all.subarray(end + 4));
    });
  });
  return { server, seen };
}

const TOKEN = `basic ${btoa('x-access-token:ghs_job')}`;
