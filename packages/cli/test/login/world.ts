/** `meshpass` in this process, with a real broker and real OpenID Connect providers of two code bases. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAccess } from '@meshpass/access';
import { plainHttpIssuersOnlyInALab } from '@meshpass/broker/attest/issuer-http';
import { createIssuerKeys } from '@meshpass/broker/attest/oidc/issuer-keys';
import { createVerifyLogout } from '@meshpass/broker/attest/oidc/logout-token';
import type { ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { OPERATOR_CLIENT, startIdp } from '@meshpass/lab/oidc/idp';
import { startZitadel } from '@meshpass/lab/oidc/zitadel';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { type Harness, onRealClock, startHarness } from '../../../broker/test/harness/broker.ts';
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
  'oidc-provider (JavaScript)': { start: () => startIdp({ listen: '127.0.0.1:0' }), namesItself: true },
  // It does not say in its answers who it is (RFC 9207).
  'zitadel/oidc (Go)': { start: () => startZitadel({ listen: '127.0.0.1:0' }), namesItself: false },
} as const;
export type ProviderName = keyof typeof PROVIDERS;

export async function startAt(name: ProviderName): Promise<World> {
  const idp = await PROVIDERS[name].start();
  const asking = { fetch, timeoutMs: 5_000, clock: Date.now, [plainHttpIssuersOnlyInALab]: true as const };
  const keys = createIssuerKeys(asking);
  const harness = await startHarness({
    parts: (clock, { mesh }) => ({
      operators: { keys },
      verifyLogout: createVerifyLogout({ access: mesh.access, keys, clock }),
    }),
  });
  await onRealClock(harness);
  const access = parseAccess(
    `trust: {issuers: {acme: {issuer: "${idp.issuer}", audience: meshpass, signIn: {client: ${OPERATOR_CLIENT}, scopes: [groups, email]}}}}
operators:
  operator: [{issuer: acme, claims: {groups: sre}}]
grants: {}
`,
    'access.yaml',
    { dangerouslyAllowPlainHttpIssuers: true },
  );
  harness.mesh.setAccess([], [], access.trust);
  harness.mesh.setOperators(access.operators);
  const operator = `http://127.0.0.1:${harness.broker.operatorPort}`;
  const logout = `https://localhost:${harness.broker.port}/sign-in/backchannel-logout/acme`;
  await idp.admin.setBackchannel(OPERATOR_CLIENT, logout, readFileSync(harness.caFile, 'utf8'));
  const close = async () => {
    await harness.stop();
    await idp.close();
  };
  return { idp, harness, operator, close };
}
