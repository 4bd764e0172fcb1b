/**
 * Operators whom their provider confirms again and again, with the real command, a real broker and providers of two code bases: who is not
 * disabled goes on and signs in once; who is disabled is out as soon as it is due. Unit tests have the five minutes, with a clock.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
/** Confirmations of an operator who stays enabled. */
const CONFIRMATIONS = 4;
/** Milliseconds after which a provider issues another ID token. */
const NEXT_SECOND = 1_100;
/** A command that takes longer, milliseconds, may be refused before it asks the provider, which it does 5 s ahead, by whole seconds. */
const LATE = 3_000;
/** Operators by their names in the access file. */
const PROVIDERS = [
  ['oidc-provider (JavaScript)', 'okta'],
  ['zitadel/oidc (Go)', 'other'],
] as const;
type Issuer = (typeof PROVIDERS)[number][1];
/** Clients: a shared one, and a separate one for operators. */
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
grants: {}
`;

let lab: Lab;
let zitadel: RunningZitadel;
let dataPath: DataPath;
let admins: Readonly<Record<Issuer, ProviderAdmin>>;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-confirmed-'));
const measured: string[] = [];
/** Operators whose commands were late, on a machine that stalls. */
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
    /** The next command has them confirmed. */
    makeDue: () => {
      const [name] = readdirSync(state);
      const file = join(state, name!);
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), confirmUntil: 0 }));
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

it.concurrent.each(PROVIDERS)('goes on while %s confirms them, and signs in once', async (_, issuer) => {
  const alice = operatorAt(issuer, ALICE);
  await alice.login();
  const confirmed = new Set<string>();
  for (let n = 0; n < CONFIRMATIONS; n++) {
    alice.makeDue();
    const { code, stdout, stderr } = await alice.meshpass('whoami', '--output', 'json');
    expect(code, stderr).toBe(0);
    confirmed.add(JSON.parse(stdout).confirmed_until);
    await sleep(NEXT_SECOND);
  }
  expect(confirmed.size).toBe(CONFIRMATIONS);
  expect(await alice.meshpass('sessions', 'list')).toMatchObject({ code: 0 });
});

it.concurrent.each(PROVIDERS)(
  'is out as soon as it is due when %s has disabled them, until they sign in again',
  async (name, issuer) => {
    const bob = operatorAt(issuer, BOB);
    await bob.login();
    expect(await bob.meshpass('sessions', 'list')).toMatchObject({ code: 0, stdout: 'No live sessions.\n' });
    await admins[issuer].disable(BOB);
    const disabled = Date.now();
    bob.makeDue();
    const { code, stderr } = await bob.meshpass('sessions', 'list');
    measure(name, 'disabled: the first refused call', Date.now() - disabled);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`${issuer} no longer confirms your identity: run meshpass login\\. +\\[operator_unconfirmed\\]`),
    );
    await admins[issuer].enable(BOB);
    await bob.login();
    expect(await bob.meshpass('sessions', 'list')).toMatchObject({ code: 0 });
  },
);

it.each(PROVIDERS)('has rows of sign-ins at %s, none of confirmations, no token', async (_, issuer) => {
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
  expect(bob.refused.length, JSON.stringify(bob.refused)).toBeLessThanOrEqual(bob.most);
  await dataPath.expectNoSecretKept();
});
