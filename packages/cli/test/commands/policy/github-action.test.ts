/** The action's own script, against a server that answers as GitHub's REST API does for comments. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parse } from 'yaml';

const ACTION = fileURLToPath(new URL('../../../../../deploy/github-action/', import.meta.url));
const REPOSITORY = '/repos/acme/platform';

interface Comment {
  readonly id: number;
  body: string;
  readonly user: { readonly login: string; readonly type: string };
}

let comments: Comment[];
let tokens: Set<string>;
let server: Server;
let directory: string;
beforeEach(async () => {
  comments = [];
  tokens = new Set();
  directory = mkdtempSync(join(tmpdir(), 'meshpass-action-'));
  server = createServer((request, response) => {
    tokens.add(String(request.headers.authorization));
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://github.test');
      const send = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body));
      const one = new RegExp(`^${REPOSITORY}/issues/comments/(\\d+)$`).exec(url.pathname)?.[1];
      if (request.method === 'GET' && url.pathname === `${REPOSITORY}/issues/7/comments`) {
        const [size, page] = ['per_page', 'page'].map((name) => Number(url.searchParams.get(name)));
        return send(200, comments.slice((page! - 1) * size!, page! * size!));
      }
      if (request.method === 'POST' && url.pathname === `${REPOSITORY}/issues/7/comments`) {
        const made = {
          id: 1000 + comments.length,
          ...JSON.parse(text),
          user: { login: 'github-actions[bot]', type: 'Bot' },
        };
        comments.push(made);
        return send(201, made);
      }
      const found = comments.find(({ id }) => String(id) === one);
      if (request.method !== 'PATCH' || !found) return send(404, { message: 'Not Found' });
      found.body = JSON.parse(text).body;
      send(200, found);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  rmSync(directory, { recursive: true });
  await new Promise((resolve) => server.close(resolve));
});

async function comment(plan: string, error = ''): Promise<void> {
  const [planFile, errorFile] = [join(directory, 'plan.md'), join(directory, 'error.txt')];
  writeFileSync(planFile, plan);
  writeFileSync(errorFile, error);
  const { port } = server.address() as AddressInfo;
  const env = {
    PATH: process.env.PATH,
    GITHUB_API_URL: `http://127.0.0.1:${port}`,
    GITHUB_REPOSITORY: 'acme/platform',
    GITHUB_TOKEN: 'ghs_job',
    GITHUB_SHA: '0123456789abcdef',
    PULL_REQUEST: '7',
  };
  await promisify(execFile)(process.execPath, [join(ACTION, 'comment.mjs'), planFile, errorFile], { env });
}

it('makes one comment, and updates that one from then on, even behind a hundred others', async () => {
  for (let id = 1; id <= 150; id++) comments.push({ id, body: 'looks good', user: { login: 'bob', type: 'User' } });
  await comment('**Every grant works.**');
  await comment('**This change is refused.**');
  expect(comments).toHaveLength(151);
  expect(comments.at(-1)!.body).toContain('**This change is refused.**');
  expect(comments.at(-1)!.body).toContain('Planned for 0123456789ab.');
  expect([...tokens]).toEqual(['Bearer ghs_job']);
});

it('does not change a similar comment of another author', async () => {
  const forged = '<!-- meshpass-policy-plan -->\nEverything is fine';
  comments.push({ id: 1, body: forged, user: { login: 'mallory', type: 'User' } });
  await comment('**This change is refused.**');
  expect(comments.map(({ body }) => body === forged)).toEqual([true, false]);
});

it('explains a missing plan, in a block that the text cannot leave, and cuts a long text', async () => {
  await comment('', 'meshpass: access.yaml:3:1 ```\n@everybody [access_file_invalid]');
  expect(comments[0]!.body).toContain('**No plan was created.**');
  expect(comments[0]!.body).toContain('````\nmeshpass: access.yaml:3:1 ```\n@everybody [access_file_invalid]\n````');
  await comment('x'.repeat(100_000));
  expect(comments[0]!.body.length).toBeLessThan(65_536);
});

it('passes inputs to the shell as variables, never as text of the script', () => {
  const { runs } = parse(readFileSync(join(ACTION, 'action.yml'), 'utf8')) as {
    runs: { using: string; steps: { name: string; if?: string; run: string; env: Record<string, string> }[] };
  };
  expect(runs.using).toBe('composite');
  for (const { run } of runs.steps) expect(run).not.toContain('${{');
  expect(runs.steps.filter(({ env }) => 'GITHUB_TOKEN' in env).map(({ name }) => name)).toEqual([
    ...['Upload findings', 'Plan and comment'],
  ]);
  expect(runs.steps.find(({ name }) => name === 'Apply')!.if).toBe(
    "inputs.broker != '' && (github.event_name == 'push' || github.event_name == 'workflow_dispatch')",
  );
});
