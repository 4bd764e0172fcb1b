/**
 * Proofs of a Codespace that the broker must refuse: tokens of other kinds and other Codespaces, and any server that answers its
 * challenge instead of the agent that made the exchange. Everything goes through real TLS to the played port forwarding.
 */
import type { Answer } from '@meshpass/cli/broker/request';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { InvalidPresence } from '@meshpass/lab/adversarial-client/invalid-presence';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { codespaceProof, type DataPath, openDataPath } from '../mesh.ts';
import type { HostileArea, HostileInput, Outcome } from './area.ts';

interface World {
  readonly dataPath: DataPath;
  /** On the host of the Codespaces. */
  readonly adversary: AdversarialClient;
  /** On another. */
  readonly elsewhere: AdversarialClient;
  /** Names of Codespaces, the oldest first. */
  readonly started: string[];
}

type Space = Pick<StartedCodespace, 'name' | 'token'>;
type Input = HostileInput<World>;

const KEPT = 40;
let number = 0;
/** A holder with a key of its own for each attempt. */
const fresh = (adversary: AdversarialClient) => adversary.as(`presence-${number++}`);

function outcomeOf({ status, json }: Answer): Outcome {
  return { accepted: status === 200, answer: `${status} ${(json as { error_code?: string } | undefined)?.error_code}` };
}

async function presented(by: AdversarialClient, space: Space, faults?: InvalidPresence): Promise<Outcome> {
  return outcomeOf(await fresh(by).enrol(codespaceProof(space), undefined, faults));
}

const honest = async (world: World) => presented(world.adversary, await codespace(world));

/** A new one. The App reads a hundred of a developer's, so the one of long ago is deleted. */
async function codespace({ dataPath, started }: World, owner?: string, repository?: string, host?: string) {
  const space = await dataPath.codespace(owner, repository, host);
  started.push(space.name);
  if (started.length > KEPT) await dataPath.github.setCodespaceState(started.shift()!, 'Deleted');
  return space;
}

/** Answers of the port that the broker must refuse. */
function answering(fault: string, code: string, faults: InvalidPresence): Input {
  const attack = async (world: World) => presented(world.adversary, await codespace(world), faults);
  return { fault, code, attack, control: honest };
}

/** Alice's Codespace, with a token that is not its own. */
function holding(fault: string, code: string, tokenOf: (world: World) => Promise<string> | string): Input {
  const attack = async (world: World) => {
    const { name } = await codespace(world);
    return await presented(world.adversary, { name, token: await tokenOf(world) });
  };
  return { fault, code, attack, control: honest };
}

/** Something changes between the challenge and the answer to it; without the change the answer is taken. */
function between(
  fault: string,
  code: string,
  change: (world: World, space: StartedCodespace) => Promise<unknown>,
  by: (first: AdversarialClient) => AdversarialClient = (first) => first,
): Input {
  const run = async (world: World, changes: boolean): Promise<Outcome> => {
    const space = await codespace(world);
    const first = fresh(world.adversary);
    const { nonce, path } = await challenged(first, space);
    if (changes) await change(world, space);
    const second = changes ? by(first) : first;
    return outcomeOf(await second.enrol(codespaceProof(space), undefined, { sentNonce: nonce, nonce, path }));
  };
  return { fault, code, attack: (world) => run(world, true), control: (world) => run(world, false) };
}

async function challenged(by: AdversarialClient, space: Space): Promise<{ nonce: string; path: string }> {
  const { json } = await by.enrol(codespaceProof(space), undefined, { ignore: true });
  return (json as { presence: { nonce: string; path: string } }).presence;
}

const OTHER_TOKENS: readonly Input[] = [
  holding('a classic personal token', 'proof_token_kind', ({ dataPath }) => dataPath.github.createUserToken('alice')),
  ...(['ghp_', 'gho_', 'github_pat_', 'ghr_'] as const).map((prefix) =>
    holding(`a ${prefix} token without a scope`, 'proof_token_kind', ({ dataPath }) =>
      dataPath.github.createUserTokenOf('alice', prefix),
    ),
  ),
  holding('the token of a workflow, as in a prebuild', 'proof_prebuild', ({ dataPath }) =>
    dataPath.github.createActionsToken(),
  ),
  holding(
    'a token in the format from before 2021',
    'proof_token_kind',
    () => 'a94a8fe5ccb19ba61c4c0873d391e987982fbbd3',
  ),
  holding('a token whose kind is in capitals', 'proof_token_kind', () => `GHU_${'a'.repeat(36)}`),
  holding('a made-up token of the right kind', 'proof_rejected', () => `ghu_${'a'.repeat(36)}`),
  holding('a token of another GitHub App, without the repository', 'workspace_repository_unreachable', ({ dataPath }) =>
    dataPath.github.createUserTokenOf('alice', 'ghu_'),
  ),
  holding(
    'the token of another Codespace of the same developer',
    'workspace_repository_unreachable',
    async (world) => (await codespace(world, 'alice', 'acme/orders')).token,
  ),
  holding(
    "the token of a colleague's Codespace",
    'workspace_unknown',
    async (world) => (await codespace(world, 'bob')).token,
  ),
];

const ELSEWHERE: readonly Input[] = [
  {
    fault: 'token and name on another machine',
    code: 'presence_unanswered',
    attack: async (world) => presented(world.elsewhere, await codespace(world)),
    control: async (world) => presented(world.elsewhere, await codespace(world, 'alice', undefined, 'workspace-2')),
  },
  {
    fault: 'a Codespace of another organisation',
    code: 'workspace_not_trusted',
    attack: async ({ dataPath, adversary }) =>
      presented(
        adversary,
        await dataPath.github.createCodespace({
          owner: 'mallory',
          repository: 'mallory/payments-api',
          tokenReadsCodespaces: true,
        }),
      ),
    control: honest,
  },
  between('it stops after the challenge', 'workspace_not_available', ({ dataPath }, { name }) =>
    dataPath.github.setCodespaceState(name, 'Shutdown'),
  ),
  between('it is deleted after the challenge', 'workspace_unknown', ({ dataPath }, { name }) =>
    dataPath.github.setCodespaceState(name, 'Deleted'),
  ),
  between('its token is revoked after the challenge', 'proof_rejected', ({ dataPath }, { token }) =>
    dataPath.github.revokeToken(token),
  ),
  between('the answer is to be fetched for another key', 'presence_challenge_unknown', async () => {}, fresh),
  {
    fault: 'the challenge is of another Codespace of the same developer',
    code: 'presence_challenge_unknown',
    attack: (world) => forAnother(world, true),
    control: (world) => forAnother(world, false),
  },
];

const ANSWERS: readonly Input[] = [
  answering('an application that echoes the request', 'presence_mismatch', { serve: 'echo' }),
  answering('an application that answers nothing', 'presence_mismatch', { serve: 'nothing' }),
  answering('a page', 'presence_mismatch', { serve: { body: '<!doctype html><title>My app</title>' } }),
  answering('a megabyte', 'presence_mismatch', { serve: 'huge' }),
  answering('the answer in a page', 'presence_mismatch', { around: ['<pre>', '</pre>'] }),
  answering('the answer and a line end', 'presence_mismatch', { around: ['', '\n'] }),
  answering('two answers', 'presence_mismatch', { around: ['e30.e30.e30 ', ''] }),
  answering('signed with another key', 'presence_mismatch', { otherKey: true }),
  answering('made for another broker', 'presence_mismatch', { broker: 'https://broker.evil.example' }),
  answering('made for this broker under a longer name', 'presence_mismatch', {
    broker: 'https://broker.meshpass.test:8443/',
  }),
  answering('made in another Codespace', 'presence_mismatch', { codespace: 'alice-other-space-0123456789ab' }),
  answering('made for another nonce', 'presence_mismatch', { nonce: 'A'.repeat(43) }),
  answering('made for another path', 'presence_mismatch', { path: `/${'A'.repeat(43)}` }),
  answering('expired two minutes ago', 'presence_mismatch', { expiresIn: -120 }),
  answering('valid for a day', 'presence_mismatch', { expiresIn: 86_400 }),
  answering('with the type of a DPoP proof', 'presence_mismatch', { header: { typ: 'dpop+jwt' } }),
  answering('without a type', 'presence_mismatch', { header: { typ: null } }),
  answering('of algorithm none', 'presence_mismatch', { header: { alg: 'none' } }),
  answering('of algorithm HS256', 'presence_mismatch', { header: { alg: 'HS256' } }),
  answering('with a critical extension', 'presence_mismatch', { header: { crit: ['b64'], b64: false } }),
  answering('with a key to be fetched', 'presence_mismatch', { header: { jku: 'https://idp.test:8443/stolen' } }),
  answering('with one bit of its signature changed', 'presence_mismatch', { tampered: true }),
];

const NO_ANSWERS: readonly Input[] = [
  ...[204, 206, 401, 404, 500].map((status) => answering(`status ${status}`, 'presence_unanswered', { status })),
  ...[301, 302, 307].map((status) =>
    answering(`a redirect ${status}`, 'presence_unanswered', { status, location: 'https://idp.test:8443/stolen' }),
  ),
  answering('a port that nothing listens on', 'presence_unanswered', { closed: true }),
  answering('an application that hangs up', 'presence_unanswered', { serve: 'hang up' }),
  answering('an application that never answers', 'presence_unanswered', { serve: 'never' }),
  answering('an answer that drips and never ends', 'presence_unanswered', { serve: 'dripping' }),
  answering('another port', 'presence_unanswered', { sentPort: '1025' }),
  ...['22', '0', '65536', '-1', '4e3', '47000.app.github.dev.evil.example', '47000/', ' 47000', '٤٧٠٠٠'].map((port) =>
    answering(`the port ${JSON.stringify(port)}`, 'request_malformed', { sentPort: port }),
  ),
  answering('a nonce that the broker did not issue', 'presence_challenge_unknown', { sentNonce: 'A'.repeat(43) }),
  answering('a nonce of other letters', 'request_malformed', { sentNonce: 'a/../b' }),
  {
    fault: 'an answer that was taken before',
    code: 'presence_challenge_unknown',
    attack: (world) => twice(world, 2),
    control: (world) => twice(world, 1),
  },
  {
    fault: 'a challenge that had a wrong answer before',
    code: 'presence_challenge_unknown',
    attack: (world) => twice(world, 2, { otherKey: true }),
    control: (world) => twice(world, 1),
  },
];

/** Uses one key for two Codespaces; the challenge of the first is answered in the exchange of either. */
async function forAnother(world: World, other: boolean): Promise<Outcome> {
  const first = await codespace(world);
  const by = fresh(world.adversary);
  const { nonce, path } = await challenged(by, first);
  const presented = other ? await codespace(world) : first;
  const faults = { sentNonce: nonce, nonce, path, codespace: first.name };
  return outcomeOf(await by.enrol(codespaceProof(presented), undefined, faults));
}

/** Repeats the same challenge. @param first faults of all but the last */
async function twice(world: World, times: number, first: InvalidPresence = {}): Promise<Outcome> {
  const space = await codespace(world);
  const by = fresh(world.adversary);
  const { nonce, path } = await challenged(by, space);
  const again = { sentNonce: nonce, nonce, path };
  for (let n = 1; n < times; n++) await by.enrol(codespaceProof(space), undefined, { ...again, ...first });
  return outcomeOf(await by.enrol(codespaceProof(space), undefined, again));
}

export const presence: HostileArea<World> = {
  name: 'broker: proofs of Codespaces',
  open: async () => {
    const dataPath = await openDataPath();
    await dataPath.github.reset();
    return { dataPath, adversary: dataPath.adversary(), elsewhere: dataPath.adversary('workspace-2'), started: [] };
  },
  close: async ({ dataPath }) => {
    await dataPath.github.reset();
    await dataPath.close();
  },
  inputs: [...OTHER_TOKENS, ...ELSEWHERE, ...ANSWERS, ...NO_ANSWERS],
};
