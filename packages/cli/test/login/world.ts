/** `meshpass` in this process, with a real broker and real OpenID Connect providers of two code bases. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAccess } from '@meshpass/access';
import { createSignInVerifier } from '@meshpass/broker/attest/attest';
import { labOnlyPlainHttpIssuers } from '@meshpass/broker/issuers/issuer-http';
import { createIssuerKeys } from '@meshpass/broker/issuers/oidc/issuer-keys';
import { createLogoutVerifier } from '@meshpass/broker/issuers/oidc/logout-token';
import { attestOidc } from '@meshpass/broker/issuers/oidc/oidc';
import type { ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { MESHPASS_CLIENT, OPERATOR_CLIENT, startIdp } from '@meshpass/lab/oidc/idp';
import { startZitadel } from '@meshpass/lab/oidc/zitadel';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { type Harness, onRealClock, startHarness } from '../../../broker/test/harness/broker.ts';
import { grant } from '../../../broker/test/harness/mesh.ts';
import { run } from '../../src/program.ts';

export interface World {
  readonly idp: { readonly issuer: string; readonly admin: ProviderAdmin; close(): Promise<void> };
  readonly harness: Harness;
  /** Origin of the operator listener. */
  readonly operator: string;
  readonly close: () => Promise<void>;
}

/** Each test has a state directory of its own. @param operator of the world of these tests */
export function ownState(operator: () => string): () => string {
  let state: string;
  beforeEach(() => {
    state = mkdtempSync(join(tmpdir(), 'meshpass-state-'));
    vi.stubEnv('MESHPASS_STATE_DIR', state);
    vi.stubEnv('MESHPASS_OPERATOR', operator());
    for (const name of ['OPERATOR_TOKEN', 'OPERATOR_TOKEN_FILE', 'BROKER', 'CA_FILE'])
      vi.stubEnv(`MESHPASS_${name}`, undefined);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    rmSync(state, { recursive: true });
  });
  return () => state;
}

export function begin(...words: string[]) {
  const said: string[] = [];
  const out: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void out.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void said.push(line));
  const code = run(['node', 'meshpass', ...words]);
  const seen = (pattern: RegExp) =>
    vi.waitFor(() => pattern.exec(said.join('\n'))?.[1] ?? expect.fail(said.join('\n')), 10_000);
  return { code, out, said, seen };
}

export async function meshpass(...words: string[]) {
  const { code, out, said } = begin(...words);
  return { code: await code, out: out.join('\n'), err: said.join('\n') };
}

export const LOGIN = ['login', '--no-browser'];
export const URL_LINE = /^ {4}(http\S+)$/m;

export const PROVIDERS = {
  'oidc-provider (JavaScript)': {
    start: () => startIdp({ listen: '127.0.0.1:0' }),
    namesItself: true,
    repeatsNonce: true,
  },
  // It does not identify itself in its answers (RFC 9207), and its refreshed ID tokens have no nonce.
  'zitadel/oidc (Go)': {
    start: () => startZitadel({ listen: '127.0.0.1:0' }),
    namesItself: false,
    repeatsNonce: false,
  },
} as const;
export type ProviderName = keyof typeof PROVIDERS;

/** A single client for everything. */
export const ONE = `client: ${OPERATOR_CLIENT}`;
/** Operators have a client of their own. */
export const TWO = `client: ${MESHPASS_CLIENT}, operatorClient: ${OPERATOR_CLIENT}`;

/** @param clients members of `signIn` */
export async function startAt(name: ProviderName, clients = ONE): Promise<World> {
  const idp = await PROVIDERS[name].start();
  const asking = { fetch, timeoutMs: 5_000, clock: Date.now, [labOnlyPlainHttpIssuers]: true as const };
  const keys = createIssuerKeys(asking);
  const harness = await startHarness({
    parts: (clock, { idp: workspaces, mesh: { access } }) => {
      const oidc = { keys, clock };
      return {
        operators: { keys },
        verifyLogout: createLogoutVerifier({ access, ...oidc }),
        attestSignIn: createSignInVerifier({ access, oidc }),
        // Workspaces also have other proofs.
        attest: async (proof, presenter) =>
          proof.type === 'oidc' && decodeJwt(proof.token).iss === idp.issuer
            ? await attestOidc(proof, access().trust.issuers, oidc, presenter.jkt)
            : await workspaces.attest(proof, presenter),
      };
    },
  });
  await onRealClock(harness);
  use(harness, idp.issuer, clients);
  const operator = `http://127.0.0.1:${harness.broker.operatorPort}`;
  const logout = `https://localhost:${harness.broker.port}/sign-in/backchannel-logout/acme`;
  await idp.admin.setBackchannel(OPERATOR_CLIENT, logout, readFileSync(harness.caFile, 'utf8'));
  const close = async () => {
    await harness.stop();
    await idp.close();
  };
  return { idp, harness, operator, close };
}

/** Brings an access file into force. @param clients members of `signIn` */
export function use({ mesh }: Harness, issuer: string, clients: string): void {
  const access = parseAccess(
    `trust: {issuers: {acme: {issuer: "${issuer}", audience: meshpass-proofs, signIn: {${clients}, scopes: [groups, email]}}}}
operators:
  operator: [{issuer: acme, claims: {groups: sre}}]
grants: {}
`,
    'access.yaml',
    { dangerouslyAllowPlainHttpIssuers: true },
  );
  mesh.setAccess([grant('dev')], [], access.trust);
  mesh.setOperators(access.operators);
}
