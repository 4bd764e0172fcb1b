/** Operators with a client of their own at real providers of two code bases: all of `meshpass login`, and what its ID tokens are good for. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { MESHPASS_CLIENT, OPERATOR_CLIENT } from '@meshpass/lab/oidc/idp';
import { BUILD_MS } from '@meshpass/lab/oidc/zitadel';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { session } from '../../../broker/test/harness/broker.ts';
import { enrolSignedIn, newKey, signIn } from '../../../broker/test/harness/sign-in.ts';
import type { StoredRefreshToken } from '../../src/login/session-file.ts';
import { refreshTokens } from '../../src/login/tokens.ts';
import { createBrowser, enterCode, signInAt, signOutAt } from './browser.ts';
import {
  begin,
  LOGIN,
  meshpass,
  ONE,
  ownState,
  PROVIDERS,
  type ProviderName,
  startAt,
  TWO,
  URL_LINE,
  use,
  type World,
} from './world.ts';

const BOB = '00u2bob';

let world: World;
const stateOf = ownState(() => world.operator);

const fileOf = () => join(stateOf(), readdirSync(stateOf()).find((name) => name.endsWith('.json'))!);
const stored = () => JSON.parse(readFileSync(fileOf(), 'utf8')) as { refresh?: StoredRefreshToken };
/** The next command has the session confirmed first. */
const makeDue = () => writeFileSync(fileOf(), JSON.stringify({ ...stored(), confirmUntil: 0 }));

async function login(browser = createBrowser()): Promise<URL> {
  const begun = begin(...LOGIN);
  const url = await begun.seen(URL_LINE);
  await signInAt(browser, url, BOB);
  expect(await begun.code, begun.said.join('\n')).toBe(0);
  return new URL(url);
}

/** Signs in by a code on another device. Most providers issue ID tokens without a nonce there. */
async function loginByDevice(): Promise<void> {
  const { operators } = world.harness.mesh.access();
  world.harness.mesh.setOperators({ ...operators!, deviceFlow: true });
  const begun = begin('login', '--device');
  await enterCode(await begun.seen(/Or open (http\S+)/), BOB);
  expect(await begun.code, begun.said.join('\n')).toBe(0);
}

/** Server that answers instead of the broker, at the address of a port-forward that has ended. */
async function impostor() {
  const taken: string[] = [];
  let isThere = false;
  const server = createServer(async (asked, answer) => {
    if (isThere && asked.url === '/operator/session/confirm') {
      taken.push((JSON.parse(await text(asked)) as { id_token: string }).id_token);
      return void answer.writeHead(503).end();
    }
    const { method, headers } = asked;
    const passed = request(new URL(asked.url ?? '/', world.operator), { method, headers }, (of) => {
      answer.writeHead(of.statusCode ?? 502, of.headers);
      of.pipe(answer);
    });
    asked.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  vi.stubEnv('MESHPASS_OPERATOR', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return {
    /** Intercepts the next confirmation. @returns its ID token */
    take: async () => {
      isThere = true;
      makeDue();
      expect((await meshpass('whoami')).code).not.toBe(0);
      isThere = false;
      return taken.pop()!;
    },
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

describe.each(Object.keys(PROVIDERS) as ProviderName[])('at %s', (name) => {
  beforeAll(async () => {
    world = await startAt(name, TWO);
  }, BUILD_MS);
  afterAll(() => world?.close());
  beforeEach(() => use(world.harness, world.idp.issuer, TWO));

  it('signs in, confirms and signs out with it', async () => {
    expect((await login()).searchParams.get('client_id')).toBe(OPERATOR_CLIENT);
    const { refresh } = stored();
    expect(refresh).toMatchObject({ client: OPERATOR_CLIENT });
    makeDue();
    expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
    const renewed = stored().refresh!;
    expect(renewed.token).not.toBe(refresh!.token);
    const { out } = await meshpass('logout', '--output', 'json');
    expect(JSON.parse(out)).toEqual({ signed_out: true, refresh_token_revoked: true });
    expect(await refreshTokens(renewed)).toBeUndefined();
  });

  it('signs in with it on another device', async () => {
    await loginByDevice();
    expect(stored().refresh).toMatchObject({ client: OPERATOR_CLIENT });
  });

  it('ends with a change of the client, with that error, and the next login is with the other one', async () => {
    await login();
    const { refresh } = stored();
    use(world.harness, world.idp.issuer, `client: ${OPERATOR_CLIENT}, operatorClient: ${MESHPASS_CLIENT}`);
    const { err } = await meshpass('whoami');
    expect(err).toMatch(
      /no longer allows operators to sign in at acme with this session's client\. Run meshpass login\./,
    );
    expect(err).toContain('[operator_session_ended]');
    // The command deletes its file and revokes the refresh token.
    expect(readdirSync(stateOf())).toEqual([]);
    expect(await refreshTokens(refresh!)).toBeUndefined();
    await loginByDevice();
    expect(stored().refresh).toMatchObject({ client: MESHPASS_CLIENT });
  });

  it('gives an impostor who intercepts a confirmation no ID token that a workspace can use', async () => {
    const between = await impostor();
    try {
      await login();
      const token = await between.take();
      const { aud, nonce } = decodeJwt(token);
      expect([aud].flat()).toEqual([OPERATOR_CLIENT]);
      expect(nonce === undefined).toBe(!PROVIDERS[name].repeatsNonce);
      const theirs = () => {
        const { trust, grants } = world.harness.mesh.access();
        const idp = {
          name: 'idp',
          issuer: 'https://idp.example',
          audience: 'meshpass',
          algorithms: ['ES256'] as const,
        };
        const issuers = [...trust.issuers, { ...idp, kind: 'generic' as const }];
        world.harness.mesh.setAccess(grants, [], { ...trust, issuers });
        return session(world.harness, 'mallory');
      };
      const answers = [
        await signIn(world.harness, await theirs(), token, 'acme'),
        await enrolSignedIn(world.harness, newKey(), token),
      ];
      expect(answers.map(({ status, json }) => [status, json.error_code])).toEqual([
        [400, 'proof_audience'],
        [400, 'proof_audience'],
      ]);
      expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
      // With one client for both, the broker accepts an ID token without a nonce.
      use(world.harness, world.idp.issuer, ONE);
      const taken = await between.take();
      const answer = await signIn(world.harness, await theirs(), taken, 'acme');
      expect(answer.json.error_code ?? answer.json.sign_ins[0].subject).toBe(
        PROVIDERS[name].repeatsNonce ? 'sign_in_foreign' : `acme:${BOB}`,
      );
    } finally {
      await between.close();
    }
  });

  // Last test of this file: the broker cannot distinguish a sign-in from a sign-out in the same second.
  it('ends when the provider notifies the client of operators of a sign-out', async () => {
    const browser = createBrowser();
    await login(browser);
    await signOutAt(browser, world.idp.issuer);
    expect((await meshpass('whoami')).err).toContain('[operator_session_ended]');
    expect(readdirSync(stateOf())).toEqual([]);
  });
});
