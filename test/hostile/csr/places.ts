/** Honest requests in the wrong place: for grants of others, by others, and past the broker to istiod. */
import { generateKeyPairSync } from 'node:crypto';
import { createCsr } from '@meshpass/identity';
import type { HostileInput, Outcome } from '../area.ts';
import { ask, askIstiod, type CsrWorld, GRANT, send } from './world.ts';

const honest = () => createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);

const forGrant = (fault: string, grant: string): HostileInput<CsrWorld> => ({
  fault,
  code: 'grant_unknown',
  attack: (world) => ask(world, honest(), grant),
  control: (world) => ask(world, honest()),
});

const GRANTS: readonly HostileInput<CsrWorld>[] = [
  forGrant('a grant of another person', 'sre-bulk'),
  forGrant('a grant that does not exist', 'no-such-grant'),
  forGrant('a grant that leads out of its namespace', '../payments-dev'),
  forGrant('a namespace of workloads for a grant', 'shop'),
  forGrant('the name of a grant in capitals', GRANT.toUpperCase()),
  {
    fault: 'a ServiceAccount of its own choice',
    attack: async (world) => {
      const { accepted, answer } = await send(world, {
        certificates: [{ grant: GRANT, csr: honest(), service_account: 'orders', namespace: 'shop' }],
      });
      return { accepted: accepted && !/ns\/meshpass-payments-dev\/sa\/alice-/.test(answer), answer };
    },
    control: (world) => send(world, { certificates: [{ grant: GRANT, csr: honest() }] }),
  },
  {
    fault: 'the key of the session for a certificate',
    code: 'csr_weak_key',
    attack: async (world) => ask(world, await world.adversary.csrOfSessionKey()),
    control: (world) => ask(world, honest()),
  },
  {
    fault: "somebody else's session token",
    code: 'dpop',
    attack: async ({ adversary }) => {
      const thief = adversary.as('thief');
      await thief.take({ sessionToken: (await adversary.show()).sessionToken });
      const { status, text } = await thief.certificate(GRANT);
      return { accepted: status === 200, answer: `${status} ${text}` };
    },
    control: (world) => ask(world, honest()),
  },
];

/** A ServiceAccount token as the broker gets one for a session: what istiod signs for. */
async function accountToken({ dataPath }: CsrWorld, audience: string): Promise<string> {
  const account = (await dataPath.accounts()).find((one) => one.startsWith(`meshpass-${GRANT}/`))!;
  const [namespace, name] = account.split('/');
  return dataPath.secret(await dataPath.lab.kubernetes.serviceAccountToken(namespace!, name!, [audience], 600));
}

const past = (
  fault: string,
  token: (world: CsrWorld) => Promise<string>,
  csr: () => string = honest,
): HostileInput<CsrWorld> => ({
  fault,
  attack: async (world) => askIstiod(world, await token(world), csr()),
  control: async (world) => askIstiod(world, await accountToken(world, 'istio-ca'), honest()),
});

const ISTIOD: readonly HostileInput<CsrWorld>[] = [
  past('istiod asked with nothing', async () => ''),
  past('istiod asked with a session token', async ({ adversary }) => (await adversary.show()).sessionToken),
  past('istiod asked with an identity token', async ({ adversary }) => (await adversary.show()).identityToken!),
  past('istiod asked with an unsigned token', async () => unsigned()),
  past('istiod asked with a token for the Kubernetes API', (world) =>
    accountToken(world, 'https://kubernetes.default.svc.cluster.local'),
  ),
  past('istiod asked with a token for the broker', (world) => accountToken(world, 'meshpass-broker')),
  past('istiod asked with the token of a ServiceAccount that is gone', async ({ dataPath }) => {
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'gone', namespace: 'shop' } };
    await dataPath.lab.kubernetes.apply(account);
    const token = await dataPath.lab.kubernetes.serviceAccountToken('shop', 'gone', ['istio-ca'], 600);
    await dataPath.lab.kubernetes.remove(account);
    return token;
  }),
  past(
    'istiod asked for what is no request',
    (world) => accountToken(world, 'istio-ca'),
    () => 'a certificate',
  ),
  {
    fault: 'istiod asked through the edge',
    attack: (world) => tunnel(world, 'istiod.istio-system.svc.cluster.local:15012'),
    control: (world) => tunnel(world, 'orders.shop.svc.cluster.local:8080'),
  },
];

function unsigned(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    iss: 'https://kubernetes.default.svc.cluster.local',
    aud: ['istio-ca'],
    sub: 'system:serviceaccount:shop:orders',
  };
  return `${part({ alg: 'none' })}.${part({ ...claims, exp: Math.floor(Date.now() / 1000) + 600 })}.`;
}

async function tunnel({ dataPath, adversary }: CsrWorld, target: string): Promise<Outcome> {
  const { edge } = dataPath.meshpass;
  // Other requests of these inputs are not signed for a key of the session.
  await adversary.certificate(GRANT);
  const token = (await adversary.show()).identityToken!;
  const send = `GET /whoami HTTP/1.1\r\nHost: ${target}\r\nx-meshpass-token: ${token}\r\n\r\n`;
  const { stage, answer = '', error = '' } = await adversary.tunnel({ target, grant: GRANT, edge, send });
  return { accepted: stage === 'answer', answer: `${stage} ${error} ${answer.slice(0, 100)}` };
}

export const PLACES: readonly HostileInput<CsrWorld>[] = [...GRANTS, ...ISTIOD];
