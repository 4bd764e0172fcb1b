/** A broker with its page, and a real identity provider (oidc-provider) at which people sign in there. */
import { createServer } from 'node:net';
import { authorize, type Operators, parseAccess } from '@meshpass/access';
import type { ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { MESHPASS_CLIENT, OPERATOR_CLIENT, startIdp } from '@meshpass/lab/oidc/idp';
import { decodeJwt } from 'jose';
import { expect, vi } from 'vitest';
import { labOnlyPlainHttpIssuers } from '../../../src/issuers/issuer-http.ts';
import { createIssuerKeys } from '../../../src/issuers/oidc/issuer-keys.ts';
import { type Enrolled, type Harness, startHarness } from '../broker.ts';
import { type Asked, type AuditRow, askAnew, auditRows, grantsOf } from './approvals.ts';
import { type Browser, formsOf, type Page } from './browser.ts';

/** Cookie of the session. */
export const SESSION = '__Host-meshpass-operator';

export interface PageWorld {
  readonly harness: Harness;
  /** Origin of the page. */
  readonly origin: string;
  /** Issuer URLs of the company and of another one. */
  readonly corp: string;
  readonly other: string;
  readonly operators: Operators;
  /** Administers accounts at the provider of `corp`. */
  readonly admin: Pick<ProviderAdmin, 'enable' | 'disable'>;
  /** Requests `prod` from a new workspace. @param path `/approvals/emergency` for emergency access */
  readonly ask: (sub: string, reason?: string, path?: string) => Promise<Asked>;
  /** Grants of a session, by what it may reach. */
  readonly services: (who: Enrolled) => Promise<string[]>;
  readonly auditRows: () => Promise<readonly AuditRow[]>;
  /** Opens a path without a session, chooses the issuer, and signs in there. @returns the page after the sign-in */
  readonly signIn: (browser: Browser, login: string, path: string) => Promise<Page>;
  /** Signs in at the provider, and stops before the page is called back. */
  readonly callbackOf: (browser: Browser, login: string) => Promise<string>;
  /** Advances the clock of this process, in which the broker and the providers run. */
  readonly advance: (ms: number) => void;
  readonly stop: () => Promise<void>;
}

export interface PageOptions {
  readonly trustsNativeClients?: boolean;
  /** Operators have a client of their own, and workspaces another one. */
  readonly ownClient?: boolean;
  /** How the broker asks the providers. */
  readonly fetch?: typeof globalThis.fetch;
}

export async function startPage(options: PageOptions = {}): Promise<PageWorld> {
  const { trustsNativeClients = false, ownClient = false, fetch = globalThis.fetch } = options;
  const listen = '127.0.0.1:0';
  const [corp, other] = [await startIdp({ listen, trustsNativeClients }), await startIdp({ listen })];
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const harness = await startHarness({
    config: { operator: { host: '127.0.0.1', port }, operatorUrl: origin },
    parts: (clock, { idp }) => {
      const http = { fetch, timeoutMs: 10_000, clock, [labOnlyPlainHttpIssuers]: true } as const;
      return {
        authorize,
        operators: { keys: createIssuerKeys(http), http },
        attest: async (proof, presenter) => {
          const { attestation, ...rest } = await idp.attest(proof, presenter);
          const sub = String(decodeJwt(proof.token).sub);
          const claims = { ...attestation.claims, iss: corp.issuer, aud: 'meshpass-proofs' };
          return { ...rest, attestation: { ...attestation, issuer: 'corp', subject: `corp:${sub}`, claims } };
        },
      };
    },
  });
  const clients = ownClient
    ? `client: ${MESHPASS_CLIENT}, operatorClient: ${OPERATOR_CLIENT}, subjectType: public`
    : `client: ${OPERATOR_CLIENT}`;
  const issuer = (url: string) =>
    `{issuer: '${url}', audience: meshpass-proofs, signIn: {${clients}, scopes: [groups, email]}}`;
  const access = parseAccess(
    `
trust: {issuers: {corp: ${issuer(corp.issuer)}, other: ${issuer(other.issuer)}}}
operators:
  viewer: [{issuer: corp, claims: {groups: everyone}}]
  approver: [{issuer: corp, claims: {groups: sre}}]
grants:
  dev: {who: [{issuer: corp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: corp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: corp, claims: {groups: sre}}, for: 30m, max: 2h, emergency: {}}`,
    'access.yaml',
    { dangerouslyAllowPlainHttpIssuers: true },
  );
  harness.mesh.setAccess(access.grants, [], access.trust);

  const realNow = Date.now;
  let ahead = 0;
  const now = vi.spyOn(Date, 'now').mockImplementation(() => realNow() + ahead);

  async function signIn(browser: Browser, login: string, path: string): Promise<Page> {
    browser.cookies.get(origin)?.delete(SESSION);
    browser.cookies.delete(new URL(corp.issuer).origin);
    const choice = await browser.open(origin + path);
    expect(choice.url.pathname).toBe('/page/sign-in');
    const link = /href="(\/page\/sign-in\/corp[^"]*)"/.exec(choice.text)![1]!;
    return await atProvider(browser, login, await browser.open(origin + link));
  }

  async function atProvider(browser: Browser, login: string, first: Page): Promise<Page> {
    let page = first;
    while (page.url.origin === new URL(corp.issuer).origin) {
      const { own } = formsOf(page)[0]!;
      page = await browser.submit(page, 'login' in own ? { login, password: 'any' } : {});
    }
    return page;
  }

  async function callbackOf(browser: Browser, login: string): Promise<string> {
    let page = await browser.open(`${origin}/page/sign-in/corp`, false);
    for (;;) {
      const location = page.headers.get('location');
      if (location === null) {
        const { own } = formsOf(page)[0]!;
        page = await browser.submit(page, 'login' in own ? { login, password: 'any' } : {}, { follow: false });
        continue;
      }
      const next = new URL(location, page.url);
      if (next.origin === origin) return next.href;
      page = await browser.open(next, false);
    }
  }

  return {
    harness,
    origin,
    corp: corp.issuer,
    other: other.issuer,
    operators: access.operators!,
    admin: corp.admin,
    ask: (sub, reason, path) => askAnew(harness, sub, reason === undefined ? {} : { reason }, path),
    services: (who) => grantsOf(harness, who),
    auditRows: () => auditRows(harness),
    signIn,
    callbackOf,
    advance: (ms) => {
      ahead += ms;
    },
    stop: async () => {
      now.mockRestore();
      await harness.stop();
      await Promise.all([corp.close(), other.close()]);
    },
  };
}

/** The code that a refusal shows. */
export function codeOf({ text }: Page): string | undefined {
  return /<h1>Refused<\/h1>[\s\S]*?<code>([a-z_]+)<\/code>/.exec(text)?.[1];
}

/** Names of the cookies of sign-ins under way, the oldest first. */
export function signInsOf({ cookies }: Browser, origin: string): string[] {
  return [...(cookies.get(origin)?.keys() ?? [])].filter((name) => name.startsWith('__Host-meshpass-sign-in-'));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
