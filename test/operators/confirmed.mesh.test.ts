/**
 * Operators whom their provider confirms again and again (`operators.confirm`), with the real command, a real broker and providers of two
 * code bases: who is not disabled goes on and signs in once; who is disabled is out in time, and the audit log says so.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLOCK_SECONDS } from '@meshpass/broker/attest/oidc/freshness';
import { type Lab, upLab } from '@meshpass/lab';
import type { ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { MESHPASS_CLIENT, OPERATOR_CLIENT } from '@meshpass/lab/oidc/idp';
import { BUILD_MS, type RunningZitadel, startZitadelOn } from '@meshpass/lab/oidc/zitadel';
import { IDP_ISSUER } from '@meshpass/lab/stand-ins';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';
import { signInBy } from '../sign-in-by.ts';

const ALICE = '00u1alice';
const BOB = '00u2bob';
const HOST = 'meshpass';
/** Seconds; the shortest that an access file may say. */
const CONFIRM = 30;
/** By when who is disabled is out: milliseconds. */
const BOUND = (CONFIRM + CLOCK_SECONDS) * 1_000;
/** A command that takes longer, milliseconds, may be refused before it asks the provider, which it does 5 s ahead, by whole seconds. */
const LATE = 3_000;
/** Commands of somebody who keeps trying when they are out. */
const TRIES = 3;
/** By their names in the access file. */
const PROVIDERS = [
  ['oidc-provider (JavaScript)', 'okta'],
  ['zitadel/oidc (Go)', 'other'],
] as const;
type Issuer = (typeof PROVIDERS)[number][1];
/** One for everybody, and one of their own for operators. */
const CLIENTS: Readonly<Record<Issuer, string>> = {
  okta: `client: ${OPERATOR_CLIENT}`,
  other: `client: ${MESHPASS_CLIENT}, operatorClient: ${OPERATOR_CLIENT}`,
};

const access = (issuers: Readonly<Record<Issuer, string>>) => `trust:
  issuers:
${Object.entries(issuers)
  .map(
    ([name, issuer]) =>
      `    ${name}: {issuer: "${issuer}", audience: meshpass-proofs, signIn: {${CLIENTS[name as Issuer]}, scopes: [groups, email]}}`,
  )
  .join('\n')}
operators:
  viewer: [${Object.keys(issuers).map((name) => `{issuer: ${name}, claims: {groups: everyone}}`)}]
  confirm: ${CONFIRM}s
grants: {}
`;

let lab: Lab;
let zitadel: RunningZitadel;
let dataPath: DataPath;
let admins: Readonly<Record<Issuer, ProviderAdmin>>;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-confirmed-'));
const measured: string[] = [];
/** Whose commands were late, on a machine that stalls. */
const late: string[] = [];

beforeAll(async () => {
  lab = await upLab({ with: ['workspace-2'] });
  zitadel = await startZitadelOn(lab);
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, access({ okta: IDP_ISSUER, other: zitadel.issuer }));
  dataPath = await openDataPath({ accessFile });
  admins = { okta: dataPath.idp, other: zitadel.admin };
}, BUILD_MS);
afterAll(async () => {
  console.log(['an operator, from the answer of the provider:', ...measured.toSorted()].join('\n  '));
  await dataPath?.idp.enable(BOB).catch(() => undefined);
  await dataPath?.close();
  await zitadel?.close();
  await lab?.down();
  rmSync(directory, { recursive: true, force: true });
});

/** Somebody at a machine that reaches the operator listener. */
function operatorAt(issuer: Issuer, person: string) {
  const state = join(directory, issuer, person);
  const env = { MESHPASS_STATE_DIR: state, MESHPASS_OPERATOR: dataPath.meshpass.operatorUrl };
  return {
    login: async () => {
      await signInBy(lab, HOST, ['login', '--no-browser', '--issuer', issuer], { person, env });
      const [file] = readdirSync(state);
      const { token, refresh } = JSON.parse(readFileSync(join(state, file!), 'utf8'));
      for (const one of [token, refresh.token]) dataPath.secret(one);
    },
    meshpass: async (...words: string[]) => {
      const began = Date.now();
      const ran = await lab.exec(HOST, ['meshpass', ...words], { env });
      if (Date.now() - began > LATE) late.push(`${issuer}:${person}`);
      return ran;
    },
  };
}

function measure(name: string, what: string, milliseconds: number): void {
  measured.push(`${name}: ${(milliseconds / 1_000).toFixed(1).padStart(5)} s  ${what}`);
}

it.concurrent.each(PROVIDERS)('goes on while %s confirms them, and signs in once', async (name, issuer) => {
  const alice = operatorAt(issuer, ALICE);
  await alice.login();
  const began = Date.now();
  const confirmed = new Set<string>();
  // Twice the time after which somebody whom nobody confirms is out.
  while (Date.now() - began < 2 * CONFIRM * 1_000 || confirmed.size < 3) {
    const { code, stdout, stderr } = await alice.meshpass('whoami', '--output', 'json');
    expect(code, stderr).toBe(0);
    confirmed.add(JSON.parse(stdout).confirmed_until);
    await sleep(3_000);
  }
  expect(await alice.meshpass('sessions', 'list')).toMatchObject({ code: 0 });
  measure(name, `not disabled: still let in, confirmed ${confirmed.size - 1} times`, Date.now() - began);
});

it.concurrent.each(PROVIDERS)(
  'is out in time when %s has disabled them, until they sign in again',
  async (name, issuer) => {
    const bob = operatorAt(issuer, BOB);
    await bob.login();
    expect(await bob.meshpass('sessions', 'list')).toMatchObject({ code: 0, stdout: 'No live session.\n' });
    await admins[issuer].disable(BOB);
    const disabled = Date.now();
    const untilRefused = async () => {
      for (;;) {
        const began = Date.now();
        const { code, stderr } = await bob.meshpass('sessions', 'list');
        if (code !== 0) return { code, stderr, after: Date.now() - disabled };
        expect(began - disabled, 'a call that was let in').toBeLessThan(BOUND);
        await sleep(500);
      }
    };
    const first = await untilRefused();
    measure(name, 'disabled: the first refused call', first.after);
    expect(first.code).toBe(1);
    expect(first.stderr).toMatch(
      new RegExp(`${issuer} does not confirm you any more: run meshpass login\\. +\\[operator_unconfirmed\\]`),
    );
    // The command has given its refresh token up. What is left is the broker, which refuses by itself.
    const last = await untilRefused();
    measure(name, 'disabled: refused by the broker itself', last.after);
    const refused: { readonly code: number; readonly stderr: string }[] = [last];
    while (refused.length < TRIES) refused.push(await bob.meshpass('sessions', 'list'));
    for (const { code, stderr } of refused) {
      expect(code).toBe(1);
      expect(stderr).toMatch(/There is no refresh token .*: run meshpass login\. +\[operator_unconfirmed\]/);
    }
    await admins[issuer].enable(BOB);
    await bob.login();
    expect(await bob.meshpass('sessions', 'list')).toMatchObject({ code: 0 });
  },
);

it.each(PROVIDERS)(
  'has rows of sign-ins at %s and of each refused try, none of confirmations, no token',
  async (_, issuer) => {
    const rows = await dataPath.audit();
    const of = (person: string) => {
      const subject = `${issuer}:${person}`;
      const [refused, others] = [true, false].map((is) =>
        rows.filter((row) => row.subject === subject && (row.outcome === 'refused') === is),
      );
      const most = late.filter((one) => one === subject).length;
      return { refused: refused!, others: others!.map(({ action, outcome, login }) => [action, outcome, login]), most };
    };
    const signIn = (login: string) => ['operator.sign-in', 'allowed', login];
    const [alice, bob] = [of(ALICE), of(BOB)];
    expect(alice.others).toEqual([signIn('alice')]);
    expect(alice.refused.length, JSON.stringify(alice.refused)).toBeLessThanOrEqual(alice.most);
    expect(bob.others).toEqual([signIn('bob'), signIn('bob')]);
    expect(bob.refused.length).toBeGreaterThanOrEqual(TRIES);
    expect(bob.refused.length, JSON.stringify(bob.refused)).toBeLessThanOrEqual(TRIES + bob.most);
    for (const row of bob.refused) {
      expect(row).toMatchObject({ action: 'operator.list', code: 'operator_unconfirmed', login: 'bob' });
      expect(JSON.parse(row.detail!)).toEqual({ operator_session: expect.any(String) });
    }
    await dataPath.expectNoSecretKept();
  },
);
