/** `meshpass github-app create`, with a browser that is played and the stand-in for GitHub. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { diagnose } from '../../src/diagnosis/run.ts';
import { githubAppCheck } from '../../src/github-app/check-app.ts';
import { type RegisteredApp, registerGithubApp } from '../../src/github-app/create-app.ts';
import { PERMISSIONS } from '../../src/github-app/permissions.ts';
import { run } from '../../src/program.ts';

let github: RunningGithub;
let folder: string;
let keyFile: string;
beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
});
afterAll(() => github?.close());
beforeEach(async () => {
  await github.admin.reset();
  folder = mkdtempSync(join(tmpdir(), 'meshpass-app-'));
  keyFile = join(folder, 'key.pem');
  return () => rmSync(folder, { recursive: true });
});

interface Page {
  readonly status: number;
  readonly text: string;
  readonly location: string | undefined;
}

/** Follows no redirect, because the tests check each step. */
function open(url: string, { method = 'GET', body = '', host = '' } = {}): Promise<Page> {
  return new Promise((resolve, reject) => {
    const headers = {
      'user-agent': 'browser',
      ...(host && { host }),
      ...(body && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body) }),
    };
    const sent = request(url, { method, headers, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode!, text, location: response.headers.location }));
    });
    sent.on('error', reject).end(body);
  });
}

const plain = (text: string) => text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');

/** Submits the form of the first page. @returns URL to which GitHub redirects the browser */
async function submit(start: string): Promise<string> {
  const { text } = await open(start);
  const action = plain(/action="([^"]+)"/.exec(text)![1]!);
  const manifest = plain(/name="manifest" value="([^"]+)"/.exec(text)![1]!);
  const { location } = await open(action, { method: 'POST', body: new URLSearchParams({ manifest }).toString() });
  return location!;
}

function creating(browse: (start: string) => Promise<void>, more: object = {}): Promise<RegisteredApp> {
  let browsing: Promise<void> | undefined;
  const created = registerGithubApp({
    organization: 'acme',
    name: 'meshpass-acme',
    url: 'https://broker.example.com',
    keyFile,
    port: 0,
    web: github.url,
    api: github.url,
    patienceMs: 20_000,
    ...more,
    onStart: (url) => {
      browsing = browse(url);
      browsing.catch(() => {});
    },
  });
  return created.finally(() => browsing);
}

describe('registering the App', () => {
  it('stores the key for its owner alone, and asks for just the permissions that have a reason', async () => {
    const app = await creating(async (start) => {
      expect((await open(await submit(start))).text).toContain('GitHub has registered the App.');
    });
    expect(app).toMatchObject({ slug: 'meshpass-acme', owner: { login: 'acme' }, id: 4242 });
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(keyFile, 'utf8')).toContain('PRIVATE KEY');
    const known = await github.admin.app();
    expect(known.permissions).toEqual(Object.fromEntries(PERMISSIONS.map(({ name }) => [name, 'read'])));
  });

  it('is for a user if no organization is named', async () => {
    const app = await creating(async (start) => void (await open(await submit(start))), { organization: undefined });
    expect(app.owner.login).toBe('alice');
  });

  it('refuses a code without its state, a second one, and one by another name of the host', async () => {
    const seen: number[] = [];
    await creating(async (start) => {
      const back = new URL(await submit(start));
      const forged = new URL(back);
      forged.searchParams.set('state', 'x'.repeat(43));
      seen.push((await open(forged.href)).status);
      seen.push((await open(back.href, { host: `evil.example:${back.port}` })).status);
      seen.push((await open(start, { host: `evil.example:${back.port}` })).status);
      seen.push((await open(new URL('/', start).href)).status);
      const both = await Promise.allSettled([open(back.href), open(back.href)]);
      seen.push(both.filter((one) => one.status === 'fulfilled' && one.value.status === 200).length);
    });
    expect(seen).toEqual([400, 404, 404, 404, 1]);
  });

  it('continues to wait after a request with an invalid URL', async () => {
    const app = await creating(async (start) => {
      expect((await open(`${new URL(start).origin}//[`)).status).toBe(404);
      await open(await submit(start));
    });
    expect(app.slug).toBe('meshpass-acme');
  });

  it('leaves no file if GitHub does not return the App', async () => {
    const failing = creating(async (start) => {
      const back = new URL(await submit(start));
      back.searchParams.set('code', 'another');
      await open(back.href);
    });
    await expect(failing).rejects.toMatchObject({ code: 'issuer_unavailable' });
    expect(existsSync(keyFile)).toBe(false);
  });

  it('waits for a while, and not for ever', async () => {
    await expect(creating(async () => {}, { patienceMs: 50 })).rejects.toMatchObject({ code: 'request_timeout' });
  });

  it('overwrites no file, and asks GitHub for nothing then', async () => {
    writeFileSync(keyFile, 'mine');
    await expect(creating(async () => {})).rejects.toThrow('the file already exists and will not be overwritten');
    expect(readFileSync(keyFile, 'utf8')).toBe('mine');
    expect(await github.admin.calls()).toEqual([]);
  });

  it('prints no secret, and the next command', async () => {
    const out: string[] = [];
    let browsing: Promise<unknown> | undefined;
    vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
    vi.spyOn(console, 'error').mockImplementation((text: string) => {
      out.push(text);
      browsing = submit(/http:\S+/.exec(text)![0]).then((back) => open(back));
    });
    const flags = [
      '--organization',
      'acme',
      '--key-file',
      keyFile,
      '--github-web',
      github.url,
      '--github-api',
      github.url,
    ];
    expect(await run(['node', 'meshpass', 'github-app', 'create', ...flags])).toBe(0);
    await browsing;
    vi.restoreAllMocks();
    const app = `--github-app 4242 --github-app-key ${keyFile} --github-api ${github.url}`;
    expect(out.join('\n')).toContain(`  meshpass github-app check ${app} --organization acme\n`);
    expect(out.join('\n')).toContain(`  github: {appId: "4242", api: "${github.url}"}\n`);
    expect(out.join('\n')).toContain(`meshpass-github --from-file=private-key.pem=${keyFile}\n`);
    expect(out.join('\n')).toContain(`  meshpass serve ${app} ...`);
    expect(out.join('\n').replace('create secret generic', '')).not.toMatch(/PRIVATE KEY|secret/);
  });
});

const ALL = { members: 'read', organization_codespaces: 'read', actions: 'read' };

describe('checking the App', () => {
  const look = (more: object = {}) =>
    diagnose([
      githubAppCheck({
        githubApi: github.url,
        githubApp: '4242',
        githubAppKey: keyFile,
        organization: ['acme'],
        ...more,
      })!,
    ]);
  beforeEach(async () => {
    await creating(async (start) => void (await open(await submit(start))));
  });

  it('reports that it is not installed, and where to install it', async () => {
    expect(await look()).toMatchObject([
      {
        state: 'failed',
        says: 'App meshpass-acme is not installed in acme.',
        next: expect.stringContaining('/installations/new'),
      },
    ]);
  });

  it.each([
    ['/app', { slug: 'evil\u001b[2J', html_url: 'https://github.com/apps/evil' }, 'slug'],
    ['/app', { slug: 'evil', html_url: 'https://github.com/apps/$(reboot)' }, 'html_url'],
    ['/app', { slug: '-evil', html_url: 'javascript:alert(1)' }, 'slug'],
  ])("prints and runs nothing of %s in another form than GitHub's", async (path, answer, where) => {
    const server = createServer((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(request.url === path ? answer : []));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const findings = await look({ githubApi: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
      expect(findings).toMatchObject([{ state: 'failed', code: 'issuer_unavailable' }]);
      expect(findings[0]!.says).toContain(`(${where})`);
      expect(JSON.stringify(findings)).not.toMatch(/evil|reboot|javascript/);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  it('does not report an App as not installed if GitHub does not list its installations', async () => {
    await github.admin.suspendInstallation('acme', false);
    for (const fault of [{ mode: 'error', status: 503 }, { mode: 'garbage' }] as const) {
      await github.admin.setFault({ ...fault, path: '/app/installations' });
      expect(await look()).toMatchObject([{ state: 'failed', code: 'issuer_unavailable', retryable: true }]);
    }
  });

  it('finds everything in order, with the calls that are left', async () => {
    await github.admin.suspendInstallation('acme', false);
    expect(await look()).toMatchObject([
      { state: 'ok' },
      { state: 'ok', says: expect.stringMatching(/^\d+ of \d+ API calls/) },
    ]);
  });

  it('reports a suspended installation, and a key that GitHub does not know', async () => {
    await github.admin.suspendInstallation('acme', true);
    expect(await look()).toMatchObject([{ state: 'failed', says: 'The installation in acme is suspended.' }]);
    expect(await look({ githubApp: '1' })).toMatchObject([
      { state: 'failed', seen: expect.stringContaining('404 Integration not found') },
    ]);
    expect(await look({ githubApi: 'http://127.0.0.1:1' })).toMatchObject([
      { state: 'failed', code: 'issuer_unavailable', retryable: true },
    ]);
    writeFileSync(keyFile, 'x', { mode: 0o600 });
    expect(await look()).toMatchObject([{ state: 'failed', code: 'config_invalid' }]);
  });

  it.each<[Record<string, string>, string, string]>([
    [{ organization_codespaces: 'read', actions: 'read' }, 'failed', 'lacks the organization permission members'],
    [{ members: 'read', organization_codespaces: 'read' }, 'warning', 'Needed only for GitHub Actions jobs'],
    [{ ...ALL, members: 'write' }, 'warning', 'has more permissions than the broker needs: members (write)'],
  ])('with the permissions %o it is %s', async (permissions, state, says) => {
    await github.admin.suspendInstallation('acme', false);
    await github.admin.setAppPermissions({ metadata: 'read', ...permissions });
    expect(await look()).toContainEqual(expect.objectContaining({ state, says: expect.stringContaining(says) }));
  });
});
