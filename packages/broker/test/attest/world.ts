/** A GitHub, two issuers and the attestors, wired as `meshpass serve` wires them. */

import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { type RunningActions, startActions } from '@meshpass/lab/oidc/actions';
import { type RunningIdp, startIdp } from '@meshpass/lab/oidc/idp';
import { parseAccess } from '@meshpass/policy';
import { type AskOptions, plainHttpIssuersOnlyInALab } from '../../src/attest/ask.ts';
import { type Attest, createAttest } from '../../src/attest/attest.ts';
import { createGithubApp } from '../../src/attest/github-app.ts';
import { createIssuerKeys } from '../../src/attest/issuer-keys.ts';

export interface World {
  readonly github: RunningGithub;
  readonly idp: RunningIdp;
  readonly actions: RunningActions;
  /** New attestors, which remember nothing. */
  readonly attest: (options?: WorldOptions) => Attest;
  readonly close: () => Promise<unknown>;
}

export interface WorldOptions {
  readonly withoutApp?: true;
  readonly timeoutMs?: number;
  readonly clock?: () => number;
  readonly coolDownMs?: number;
  readonly organization?: string;
  /** More entries of `who`, a line each. */
  readonly who?: readonly string[];
}

export async function createWorld(): Promise<World> {
  const listen = { listen: '127.0.0.1:0' };
  const [github, idp, actions] = await Promise.all([startGithub(listen), startIdp(listen), startActions(listen)]);
  const attest = (options: WorldOptions = {}): Attest => {
    const { clock = Date.now, timeoutMs = 5000, organization = 'acme', who = [] } = options;
    const access = parseAccess(
      `trust:
  codespaces: {organization: ${organization}}
  issuers:
    okta: {issuer: "${idp.issuer}", audience: meshpass, algorithms: [RS256, ES256, EdDSA]}
    ci: {issuer: "${actions.issuer}", audience: meshpass, kind: actions}
grants:
  dev:
    who:
      - {team: acme/payments, repository: acme/payments-*}
      - {team: acme/sre}
${who.map((entry) => `      - ${entry}\n`).join('')}    to: [{service: orders.shop, port: 8080}]
`,
      'access.yaml',
      { dangerouslyAllowPlainHttpIssuers: true },
    );
    const how: AskOptions & { clock: () => number } = { fetch, timeoutMs, clock, [plainHttpIssuersOnlyInALab]: true };
    const api = { ...how, url: github.url };
    const app = options.withoutApp
      ? undefined
      : createGithubApp({ ...api, appId: '4242', privateKey: github.appPrivateKey });
    const { coolDownMs } = options;
    const keys = createIssuerKeys({ ...how, ...(coolDownMs === undefined ? {} : { coolDownMs }) });
    return createAttest({
      access: () => access,
      codespaces: { api, ...(app ? { app } : {}) },
      oidc: { keys, clock, ...(app ? { app } : {}) },
    });
  };
  return { github, idp, actions, attest, close: () => Promise.all([github.close(), idp.close(), actions.close()]) };
}

/** The code and message of a refusal; fails where there is none. */
export async function refusal(promise: Promise<unknown>): Promise<{ code: string; status: number; text: string }> {
  try {
    await promise;
  } catch (error) {
    const { code, status, message, detail, cause } = error as {
      code: string;
      status: number;
      message: string;
      detail: unknown;
      cause: unknown;
    };
    return { code, status, text: `${message} ${JSON.stringify(detail)} ${String(cause)}` };
  }
  throw new Error('it was accepted');
}
