/** A Meshpass on the lab whose developer asks, and the people who answer in each way: workspace, operator, page, webhook. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { routeToIdp } from '@meshpass/lab/network/route-to-idp';
import { OPERATOR_CLIENT } from '@meshpass/lab/oidc/idp';
import { type Browser, chromium, type Page } from 'playwright-core';
import { Webhook } from 'standardwebhooks';
import { expect } from 'vitest';
import { PROGRAM, signInOnPage } from '../../packages/broker/test/browser/chromium.ts';
import { type Answered, ask } from '../hostile/requests.ts';
import { type DataPath, openDataPath } from '../mesh.ts';
import { signInBy } from '../sign-in-by.ts';

export const ALICE = '00u1alice';
export const BOB = '00u2bob';
const PORT = 9090;

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Ways {
  readonly dataPath: DataPath;
  /** URL at which browsers reach the page. */
  readonly origin: string;
  readonly call: (path: string) => Promise<string>;
  readonly meshpass: (host: string, ...words: string[]) => Promise<Ran>;
  readonly json: <T>(host: string, ...words: string[]) => Promise<T>;
  /** Signs an operator in, by a code. */
  readonly login: (person: string) => Promise<void>;
  readonly logout: () => Promise<void>;
  /** Runs `meshpass` with these words as the signed-in operator. */
  readonly operator: (...words: string[]) => Promise<Ran>;
  /** A separate browser in which a person signs in on the page. */
  readonly browse: (person: string, path: string) => Promise<Page>;
  readonly githubId: (login: string) => Promise<string>;
  /** An approval through the webhook. @param by id of a GitHub user */
  readonly answer: (id: string, by: string, how?: Signing) => Promise<Answered>;
  readonly close: () => Promise<void>;
}

interface Signing {
  readonly secret?: string;
  /** Seconds since it was signed. */
  readonly age?: number;
  readonly messageId?: string;
}

/** Each grant is open to alice and bob for a minute, with the approval of bob, whom team and groups name. */
const access = (grants: readonly string[]) => `trust:
  codespaces: {organization: acme}
  issuers:
    corp: {issuer: https://idp.test:8443, audience: meshpass, signIn: {client: ${OPERATOR_CLIENT}, scopes: [groups, email]}}
operators:
  approver: [{issuer: corp, claims: {groups: everyone}}]
  deviceFlow: true
approvals:
  webhooks: {chat: {url: https://chat.test/meshpass, speaksFor: github}}
grants:
  base:
    who: [{user: alice}, {user: bob}]
    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}]
${grants
  .map(
    (name) => `  ${name}:
    who: [{user: alice}, {user: bob}]
    to: [{service: orders.shop, port: 8080, allow: [GET /ways/${name}]}]
    approval: {by: [{team: acme/payments-leads}, {issuer: corp, claims: {groups: sre}}], for: 1m, max: 1h}
`,
  )
  .join('')}`;

export async function openWays(grants: readonly string[]): Promise<Ways> {
  const directory = mkdtempSync(join(tmpdir(), 'meshpass-approvals-'));
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, access(grants));
  const secret = (text: string) => `whsec_${Buffer.from(text.padEnd(32, '.')).toString('base64')}`;
  writeFileSync(join(directory, 'chat'), `${secret('chat')}\n`, { mode: 0o600 });

  // As `kubectl port-forward` does, so that the page has an address of this machine.
  let to = '';
  const forward = createServer((socket) => {
    const upstream = connect(PORT, to);
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const)
      one.on('error', () => other.destroy()).pipe(other);
  });
  await new Promise<void>((resolve) => forward.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(forward.address() as { port: number }).port}`;

  const flags = ['--operator-url', origin, '--approval-webhook-keys', directory];
  const dataPath = await openDataPath({ accessFile, flags });
  const { lab, github } = dataPath;
  to = lab.hosts.meshpass!.ip;
  const closeRoute = await routeToIdp(lab);
  await github.createTeam('acme/payments-leads');

  const meshpass = (host: string, ...words: string[]) => lab.exec(host, ['meshpass', ...words]);
  for (const [owner, host] of [
    ['alice', 'workspace'],
    ['bob', 'workspace-2'],
  ] as const) {
    const env = await dataPath.environment(owner, host);
    const up = await lab.exec(host, ['meshpass', 'up', '--output', 'json'], { env });
    expect(up.code, up.stderr).toBe(0);
  }

  // Her name for operators and on the page, which distinguishes her from them.
  await signInBy(lab, 'workspace', ['sign-in', '--issuer', 'corp'], { person: ALICE });

  const env = { MESHPASS_STATE_DIR: join(directory, 'state'), MESHPASS_CA_FILE: lab.testCa };
  const at = ['--operator', dataPath.meshpass.operatorUrl];
  let browser: Browser | undefined;
  return {
    dataPath,
    origin,
    meshpass,
    call: async (path) => {
      const curl = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}'];
      return (await lab.exec('workspace', [...curl, `http://orders.shop:8080${path}`])).stdout.trim();
    },
    json: async <T>(host: string, ...words: string[]) => {
      const { code, stdout, stderr } = await meshpass(host, ...words, '--output', 'json');
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout) as T;
    },
    login: (person) => signInBy(lab, 'meshpass', ['login', '--issuer', 'corp', '--device', ...at], { person, env }),
    logout: async () => {
      const { code, stderr } = await lab.exec('meshpass', ['meshpass', 'logout', ...at], { env });
      expect(code, stderr).toBe(0);
    },
    operator: (...words) => lab.exec('meshpass', ['meshpass', ...words, ...at], { env }),
    browse: async (person, path) => {
      const args = ['--no-sandbox', `--host-resolver-rules=MAP idp.test ${lab.hosts.github!.ip}`];
      browser ??= await chromium.launch({ executablePath: PROGRAM, args });
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      context.setDefaultTimeout(60_000);
      const page = await context.newPage();
      await signInOnPage(page, origin, person, path);
      return page;
    },
    githubId: async (login) => {
      const row = (await dataPath.audit()).find((one) => one.login === login && one.subject?.startsWith('github:'));
      return row!.subject!.slice('github:'.length);
    },
    answer: async (id, by, { secret: key = 'chat', age = 0, messageId = `msg_${crypto.randomUUID()}` } = {}) => {
      const body = JSON.stringify({ request: id, decision: 'approve', by: { subject: by } });
      const signedAt = new Date(Date.now() - age * 1000);
      const { hostname, port } = new URL(dataPath.meshpass.brokerUrl);
      return await ask(
        { host: to, port: Number(port), tls: { name: hostname, caFile: lab.testCa } },
        {
          method: 'POST',
          path: '/approvals/answers/chat',
          body,
          headers: [
            ...['Content-Type', 'application/json', 'webhook-id', messageId],
            ...['webhook-timestamp', String(Math.floor(signedAt.getTime() / 1000))],
            ...['webhook-signature', new Webhook(secret(key)).sign(messageId, signedAt, body)],
          ],
        },
      );
    },
    close: async () => {
      await browser?.close();
      for (const host of ['workspace', 'workspace-2']) await meshpass(host, 'down');
      await closeRoute();
      await dataPath.close();
      forward.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
