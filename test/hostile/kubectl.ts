/** The way of kubectl: tokens for the API server at the broker, and the API server as a target of the edge. */
import { randomUUID } from 'node:crypto';
import type { Answer } from '@meshpass/cli/broker/request';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { InvalidProof } from '@meshpass/lab/adversarial-client/invalid-proofs';
import { enrolled, ORDERS } from '../mesh.ts';
import type { HostileArea, HostileInput, Outcome } from './area.ts';
import { connectHead, GRANT, type Internet, ORDERS_SNI, openInternet, said, type Try } from './edge/client.ts';
import { clientHello, SERVER_NAME, withExtensions, withNames } from './edge/client-hello.ts';

interface World extends Internet {
  /** ClientHello for the API server. */
  readonly toApi: Buffer;
  /** Somebody with a session, and some tokens left to ask for. */
  readonly developer: () => Promise<AdversarialClient>;
}

const API = 'kubernetes.default.svc:443';
const API_NAME = 'kubernetes.default.svc';
const NOT_GRANTED = 'tunnel_target_not_granted';
const MALFORMED = 'tunnel_request_malformed';
/** RFC 7301. */
const ALPN = 16;
/** Number of connections that one session may have at once, kept below the limit. */
const ASKED_OF_ONE = 4;

export const kubectl: HostileArea<World> = {
  name: 'edge and broker: kubectl',
  open: async () => {
    const internet = await openInternet({ kubernetes: true });
    let asked = 0;
    let named = internet.adversary;
    const developer = async () => {
      if (asked++ % ASKED_OF_ONE === 0) {
        named = internet.adversary.as(`developer ${asked}`);
        await enrolled(internet.dataPath, named);
      }
      return named;
    };
    // The API server refuses a client that wants only protocols of Istio.
    const toApi = withExtensions(await clientHello(API_NAME), (all) => all.filter(([type]) => type !== ALPN));
    return { ...internet, toApi, developer };
  },
  close: async ({ client, dataPath }) => {
    client.kill();
    await dataPath.close();
  },
  inputs: [...certificates(), ...targets(), ...serverNames(), ...bodies(), ...proofs(), ...sessions()],
};

function honestWay(world: World): Promise<Outcome> {
  return said(world, { target: API, inner: world.toApi });
}

function against(fault: string, code: string, wrong: (world: World) => Try): HostileInput<World> {
  return {
    fault,
    code,
    control: honestWay,
    attack: (world) => said(world, { target: API, inner: world.toApi, ...wrong(world) }),
  };
}

function certificates(): HostileInput<World>[] {
  return [
    against('a certificate of a grant without roles', NOT_GRANTED, ({ bob }) => ({ credential: bob })),
    against('a workload of the mesh', 'tunnel_session_unknown', ({ workload }) => ({ credential: workload })),
    against('no certificate', 'tunnel_certificate_missing', () => ({ credential: null })),
  ];
}

function targets(): HostileInput<World>[] {
  const to = (fault: string, code: string, target: string) =>
    against(fault, code, () => ({ head: connectHead(target) }));
  return [
    to('the port of the API server itself', NOT_GRANTED, `${API_NAME}:6443`),
    to('port 80 of it', NOT_GRANTED, `${API_NAME}:80`),
    to('its full name', NOT_GRANTED, 'kubernetes.default.svc.cluster.local:443'),
    to('its short name', NOT_GRANTED, 'kubernetes.default:443'),
    to('its address in the cluster', NOT_GRANTED, '10.96.0.1:443'),
    to('a name below it', NOT_GRANTED, `etcd.${API_NAME}:443`),
    to('the name of another host of the control plane', NOT_GRANTED, 'istiod.istio-system.svc:443'),
    to('the loopback of the edge', NOT_GRANTED, 'localhost:443'),
    to('capitals', MALFORMED, API.toUpperCase()),
    to('a final dot', MALFORMED, `${API_NAME}.:443`),
    to('a port with a zero before it', MALFORMED, `${API_NAME}:0443`),
    to('a port that wraps around', MALFORMED, `${API_NAME}:65979`),
    to('a percent sign', MALFORMED, 'kubernetes.default%2esvc:443'),
    to('a server name of Istio for it', NOT_GRANTED, `outbound_.443_._.${API_NAME}.cluster.local:15443`),
    to('its name at the port of the gateway', NOT_GRANTED, `${API_NAME}:15443`),
    against('another Host', MALFORMED, () => ({ head: `CONNECT ${API} HTTP/1.1\r\nHost: ${ORDERS}\r\n\r\n` })),
    against('its server name in a tunnel to a service', 'alert', () => ({ head: connectHead(ORDERS) })),
  ];
}

function serverNames(): HostileInput<World>[] {
  const named = (fault: string, ...names: readonly (readonly [number, string])[]) =>
    against(fault, 'alert', ({ toApi }) => ({ inner: withNames(toApi, ...names) }));
  return [
    named('a service as server name', [0, ORDERS_SNI]),
    named('its full name as server name', [0, `${API_NAME}.cluster.local`]),
    named('its server name in capitals', [0, API_NAME.toUpperCase()]),
    named('its server name with a final dot', [0, `${API_NAME}.`]),
    named('two server names', [0, API_NAME], [0, ORDERS_SNI]),
    against('no server name', 'alert', ({ toApi }) => ({
      inner: withExtensions(toApi, (extensions) => extensions.filter(([type]) => type !== SERVER_NAME)),
    })),
    against('a request without TLS', 'alert', () => ({ inner: Buffer.from('GET /version HTTP/1.1\r\n\r\n') })),
  ];
}

async function tokenOf(
  one: AdversarialClient,
  json: unknown = { grant: GRANT },
  faults?: InvalidProof,
): Promise<Answer> {
  return one.speak('POST', '/kubernetes/token', { json }, faults);
}

function answered({ status, json }: Answer): Outcome {
  const { error_code: code, token } = (json ?? {}) as { readonly error_code?: string; readonly token?: string };
  return { accepted: token !== undefined, answer: `${status} ${code ?? ''}` };
}

/** @param wrong asks in the wrong way, as the same session */
function asking(
  fault: string,
  code: string,
  wrong: (one: AdversarialClient, world: World) => Promise<Answer>,
): HostileInput<World> {
  let one: AdversarialClient;
  return {
    fault,
    code,
    control: async (world) => {
      one = await world.developer();
      return answered(await tokenOf(one));
    },
    attack: async (world) => answered(await wrong(one, world)),
  };
}

function bodies(): HostileInput<World>[] {
  const body = (fault: string, code: string, json: unknown) => asking(fault, code, (one) => tokenOf(one, json));
  return [
    body('a grant that the session does not have', 'grant_unknown', { grant: 'sre-bulk' }),
    body('a grant that is not there', 'grant_unknown', { grant: 'cluster-admin' }),
    body('the namespace instead of the grant', 'grant_unknown', { grant: `meshpass-${GRANT}` }),
    body('a path instead of the grant', 'grant_unknown', { grant: `../kube-system/${GRANT}` }),
    body('two grants', 'request_malformed', { grant: [GRANT, 'sre-bulk'] }),
    body('no grant', 'request_malformed', {}),
    body('a name of a thousand characters', 'request_', { grant: 'x'.repeat(1_000) }),
    body('a body of a megabyte', 'request_too_large', { grant: GRANT, more: 'x'.repeat(1_048_576) }),
  ];
}

function proofs(): HostileInput<World>[] {
  const proven = (fault: string, code: string, faults: (world: World) => InvalidProof) =>
    asking(fault, code, (one, world) => tokenOf(one, undefined, faults(world)));
  return [
    proven('no proof', 'dpop_missing', () => ({ omit: true })),
    proven('a proof by another key', 'dpop_key_mismatch', () => ({ otherKey: true })),
    proven('a proof for another path', 'dpop_mismatch', ({ dataPath }) => ({
      url: `${dataPath.meshpass.brokerUrl}/certificates`,
    })),
    proven('a proof for another method', 'dpop_mismatch', () => ({ method: 'GET' })),
    proven('a proof of an hour ago', 'dpop_expired', () => ({ iat: Math.floor(Date.now() / 1000) - 3_600 })),
    asking('a proof that was used', 'dpop_replayed', async (one) => {
      const again = { jti: randomUUID() };
      await tokenOf(one, undefined, again);
      return tokenOf(one, undefined, again);
    }),
  ];
}

function sessions(): HostileInput<World>[] {
  return [
    asking("somebody else's session token", 'dpop_key_mismatch', async (one, { adversary }) => {
      const thief = adversary.as('thief');
      await thief.take({ sessionToken: (await one.show()).sessionToken });
      return tokenOf(thief);
    }),
    asking('more than its share', 'too_many_attempts', async (one) => {
      for (let count = 0; count < 10; count++) await tokenOf(one);
      return tokenOf(one);
    }),
    asking('a session that has ended', 'session_closed', async (_, world) => {
      const gone = world.adversary.as('gone');
      await enrolled(world.dataPath, gone);
      await gone.speak('DELETE', '/session');
      return tokenOf(gone);
    }),
  ];
}
