/** A GitHub, two issuers and the attestors, wired as `meshpass serve` wires them. */

import { randomBytes } from 'node:crypto';
import { parseAccess } from '@meshpass/access';
import { type PresenceParameters, type SignableChallenge, withPresence } from '@meshpass/agent/session/presence';
import { createPresenceProof, dpopThumbprint, exchangeDigest } from '@meshpass/identity';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { type RunningActions, startActions } from '@meshpass/lab/oidc/actions';
import { type RunningIdp, startIdp } from '@meshpass/lab/oidc/idp';
import { type Attestor, createAttestor } from '../../src/attest/attest.ts';
import { createGithubApp } from '../../src/attest/github/app.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import { labOnlyForwardingHost } from '../../src/attest/presence/forwarded-port.ts';
import { createPresenceCheck, type PresenceMode } from '../../src/attest/presence/presence.ts';
import type { AttestationResult } from '../../src/issuers/attested.ts';
import { type IssuerHttpOptions, labOnlyPlainHttpIssuers } from '../../src/issuers/issuer-http.ts';
import { createIssuerKeys } from '../../src/issuers/oidc/issuer-keys.ts';
import { newKey, PUBLIC_URL } from '../harness/broker.ts';

export interface World {
  readonly github: RunningGithub;
  readonly idp: RunningIdp;
  readonly actions: RunningActions;
  /** New attestors, which remember nothing. */
  readonly attest: (options?: WorldOptions) => Attestor;
  readonly close: () => Promise<unknown>;
}

export interface WorldOptions {
  readonly withoutApp?: true;
  readonly presence?: PresenceMode;
  /** Loopback port to which the broker connects for forwarded ports, instead of the stand-in's. */
  readonly forwardingPort?: number;
  readonly timeoutMs?: number;
  /** Promise that delays each answer of GitHub. */
  readonly beforeGithub?: () => Promise<unknown>;
  readonly clock?: () => number;
  readonly coolDownMs?: number;
  readonly organization?: string;
  /** More entries of `who`, a line each. */
  readonly who?: readonly string[];
}

export async function createWorld(): Promise<World> {
  const listen = { listen: '127.0.0.1:0' };
  const [github, idp, actions] = await Promise.all([startGithub(listen), startIdp(listen), startActions(listen)]);
  const attest = (options: WorldOptions = {}): Attestor => {
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
    const how: IssuerHttpOptions & { clock: () => number } = {
      fetch,
      timeoutMs,
      clock,
      [labOnlyPlainHttpIssuers]: true,
    };
    const { beforeGithub = async () => {} } = options;
    const slowly: typeof fetch = async (...asked) => {
      await beforeGithub();
      return await fetch(...asked);
    };
    const api = { ...how, url: github.url, fetch: slowly };
    const losses = createLosses(clock);
    const app = options.withoutApp
      ? undefined
      : createGithubApp({ ...api, appId: '4242', privateKey: github.appPrivateKey, losses });
    const { coolDownMs } = options;
    const keys = createIssuerKeys({ ...how, ...(coolDownMs === undefined ? {} : { coolDownMs }) });
    const presence = createPresenceCheck({
      mode: options.presence ?? 'required',
      broker: PUBLIC_URL,
      clock,
      random: randomBytes,
      forwarding: forwardingAt(options.forwardingPort ?? github.forwarding.port, timeoutMs),
    });
    return createAttestor({
      access: () => access,
      codespaces: { api, presence, ...(app ? { app } : {}) },
      oidc: { keys, clock, ...(app ? { app } : {}) },
    });
  };
  return { github, idp, actions, attest, close: () => Promise.all([github.close(), idp.close(), actions.close()]) };
}

/** Port forwarding as the stand-in plays it on loopback. */
function forwardingAt(port: number, timeoutMs: number) {
  return { timeoutMs, [labOnlyForwardingHost]: { host: '127.0.0.1', port, plainHttp: true as const } };
}

/** Presents a Codespace's proof as its agent does, with a key of its own: from within, because every Codespace is on loopback here. */
export async function presentCodespace(
  attest: Attestor,
  space: { name: string; token: string },
): Promise<AttestationResult> {
  const key = newKey();
  const proof = { type: 'github-codespace', token: space.token, codespaceName: space.name } as const;
  const jkt = dpopThumbprint(key.jwk);
  const sign = ({ dpop, expires_in, ...challenge }: SignableChallenge) =>
    createPresenceProof({
      key,
      challenge,
      broker: PUBLIC_URL,
      codespaceName: space.name,
      expiresAt: Math.floor(Date.now() / 1000) + expires_in,
      ...(dpop !== undefined && { dpop }),
    });
  const exchange = async (answer?: PresenceParameters) => {
    const dpop = `proof ${randomBytes(8).toString('hex')}`;
    answer?.onProof?.(dpop);
    const { port = 0, nonce } = answer ?? {};
    const presence = nonce === undefined ? { exchange: exchangeDigest(dpop), port } : { nonce, port };
    return await attest(proof, { jkt, source: '192.0.2.1', presence });
  };
  return await withPresence(exchange, { port: 0, sign, pause: 1 });
}

/** Reads code and message of a refusal. Fails if the call succeeds. */
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
