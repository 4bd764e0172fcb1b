/** Answers to people whose identity is proven and to whom the access file gives nothing: whom to ask, and what they can request. */
import { authorize, parseAccess } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { ErrorResponse, SessionResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { authorizeSession } from '../../src/core/session/authorize.ts';
import { startWorld, type World } from '../approval/given/world.ts';
import { asSession, enrol, newKey } from '../harness/broker.ts';

const CONTACT = '#platform in Slack';
const file = (grants: string, contact = `contact: "${CONTACT}"\n`) =>
  `${contact}trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: cli}}}}
grants:
${grants}`;
const dev = (subject: string) =>
  `  dev: {who: [{issuer: idp, claims: {sub: ${subject}}}], to: [{service: orders.shop, port: 8080}]}\n`;
const prod = (name: string) =>
  `  ${name}: {who: [{issuer: idp}], to: [{service: ledger.shop, port: 8080}], approval: {by: {issuer: idp, claims: {groups: leads}}, max: 4h}}\n`;

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.harness.stop());

const refusal = async (proof?: string) =>
  ErrorResponse.parse((await enrol(world.harness, 'mallory', newKey(), proof)).json);

it('contain the contact of the access file', async () => {
  world.use(file(dev('alice')));
  expect(await refusal()).toMatchObject({
    error_code: 'access_none',
    error_description: `No grant in the access file applies to you. Ask ${CONTACT} for access.`,
    contact: CONTACT,
  });
});

it('contain no contact if the file names none', async () => {
  world.use(file(dev('alice'), ''));
  const { error_description, ...members } = await refusal();
  expect(error_description).toBe('No grant in the access file applies to you. Ask its owners for access.');
  expect(members).not.toHaveProperty('contact');
});

it('contain the grants that the person could request, with those who approve', async () => {
  world.use(file(prod('prod')));
  expect(await refusal()).toMatchObject({
    error_description:
      `No grant in the access file applies to you without an approval, and requesting one requires a session. Ask ${CONTACT} for a grant ` +
      'that does not require an approval. You can then request prod (approval by issuer idp, claim groups leads, at most 4h).',
    requestable: ['prod'],
  });
});

it('name three of many grants, and list all', async () => {
  world.use(file(['a', 'b', 'c', 'd', 'e'].map(prod).join('')));
  const { error_description, requestable } = await refusal();
  expect(error_description).toMatch(/ c \([^)]*\) and 2 more\.$/);
  expect(error_description.length).toBeLessThan(1_000);
  expect(requestable).toEqual(['a', 'b', 'c', 'd', 'e']);
});

it('are not for strangers: a proof that the issuer did not sign gets no contact', async () => {
  world.use(file(prod('prod')));
  const proof = await world.harness.idp.prove('mallory');
  const { json, text } = await enrol(world.harness, 'mallory', newKey(), `${proof.slice(0, -8)}AAAAAAAA`);
  expect(json.error_code).toBe('proof_signature');
  expect(text).not.toMatch(/Slack|prod/);
  for (const path of ['/services', '/approvals', '/openapi.json', '/version'])
    expect((await world.harness.call({ path })).text).not.toContain(CONTACT);
});

it.each([
  ['a job of an issuer without sign-in, which any project can run', 'other', 'ci', undefined],
  ['a workspace of an issuer that the access file does not trust', 'other', 'former', undefined],
  ['a person at an issuer with sign-in', 'other', 'people', CONTACT],
] as const)(
  'name the contact and grants that need an approval only to a person: %s',
  async (_, kind, issuer, contact) => {
    const attestation: Attestation = {
      attestor: 'oidc',
      issuer,
      subject: `${issuer}:x`,
      login: 'x',
      workspace: { kind, key: 'x:1', name: 'x' },
      claims: { iss: `https://${issuer}.example`, aud: 'meshpass' },
      teams: [],
      proofHash: '',
    };
    const { trust, ...access } = parseAccess(
      `contact: "${CONTACT}"
trust:
  issuers:
    ci: {issuer: 'https://ci.example', audience: meshpass}
    people: {issuer: 'https://people.example', audience: meshpass, signIn: {client: cli}}
grants:
  prod: {who: [{issuer: ci}, {issuer: people}], to: [{service: ledger.shop, port: 8080}], approval: {by: {issuer: people}}}
`,
      'access.yaml',
    );
    const context = {
      authorize,
      mesh: { access: () => ({ ...access, trust }) },
      losses: { now: () => 0, since: () => false, isLost: () => false, isUnsettled: () => false },
      clock: Date.now,
      random: (bytes: number) => Buffer.alloc(bytes),
    };
    const refused = authorizeSession(context as never, {
      attestation,
      lossCount: 0,
      jkt: 'x',
      event: { action: 'session.open', outcome: 'refused' } as never,
    });
    await expect(refused).rejects.toMatchObject({
      code: 'access_none',
      members: contact === undefined ? {} : { contact, requestable: ['prod'] },
      message: contact === undefined ? expect.not.stringContaining(CONTACT) : expect.stringContaining(CONTACT),
    });
  },
);

it('come with a session too: its agent learns the contact, and each change', async () => {
  world.use(file(dev('alice')));
  const key = newKey();
  const opened = await enrol(world.harness, 'alice', key);
  expect(SessionResponse.parse(opened.json).mesh.contact).toBe(CONTACT);
  world.use(file(dev('alice'), 'contact: platform@acme.example\n'));
  const { json } = await asSession(world.harness, { ...opened.json, key }, { path: '/services' });
  expect(json.mesh.contact).toBe('platform@acme.example');
});
