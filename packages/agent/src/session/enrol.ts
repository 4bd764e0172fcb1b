/** From a proof to working credentials: a session, one SVID per grant, an identity token. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Proof } from '@meshpass/identity/attestation';
import { createCsr } from '@meshpass/identity/csr';
import { type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes/wire';
import type {
  CertificateResponse,
  MeshInfo,
  ReachableService,
  SessionInfo,
  TokenResponse,
} from '@meshpass/identity/wire';
import { acceptCertificate } from './accept-certificate.ts';
import type { OpenedSession, ReceivedConfiguration } from './broker-answers.ts';
import type { BrokerClient } from './broker-client.ts';

/** A grant's certificate and key. All times are milliseconds by our own clock. */
export interface Svid {
  readonly grant: string;
  readonly spiffeId: string;
  readonly chain: string;
  /** PEM, PKCS#8. Only ever in memory. */
  readonly privateKey: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface IdentityToken {
  readonly value: string;
  /** Of the key that signed it; undefined where its header does not tell. */
  readonly kid: string | undefined;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface Credentials {
  /** The session token; bound to the DPoP key, useless without it. */
  readonly accessToken: string;
  readonly session: SessionInfo;
  readonly mesh: MeshInfo;
  readonly services: readonly ReachableService[];
  /** Absent: no grant has roles of Kubernetes. */
  readonly kubernetes?: KubernetesAccess | undefined;
  readonly servicesVersion: string | undefined;
  readonly svids: ReadonlyMap<string, Svid>;
  readonly identityToken: IdentityToken;
}

/** A fresh P-256 key for DPoP. */
export function newDpopKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/** CSRs that go with a proof, before the session's grants are known. Most workspaces have no more. */
const FIRST_CSRS = 4;

export interface Enrolled {
  readonly credentials: Credentials;
  /** Where it came with the session. */
  readonly configuration: ReceivedConfiguration | undefined;
}

/**
 * Opens a session and fetches everything that it carries, in one exchange where the broker has all of it at once; or ends it again.
 * @param token told the session's as soon as there is one
 * @throws MeshpassError of the broker, or agent_broker_unreachable
 */
export async function enrol(
  client: BrokerClient,
  proof: Proof,
  now: () => number,
  token: (accessToken: string) => void,
): Promise<Enrolled> {
  // A CSR names nothing but its key. The broker takes the first for the first grant, and so on.
  const keys = Array.from({ length: FIRST_CSRS }, newKey);
  const opened = await client.openSession(proof, keys.map(createCsr));
  token(opened.access_token);
  try {
    return { credentials: await fetched(client, opened, keys, now), configuration: opened.configuration };
  } catch (error) {
    await client.goodbye(opened.access_token).catch(() => {}); // then its lease ends it
    throw error;
  }
}

async function fetched(
  client: BrokerClient,
  opened: OpenedSession,
  keys: readonly KeyObject[],
  now: () => number,
): Promise<Credentials> {
  const { access_token: accessToken, session, mesh, services, kubernetes } = opened;
  const first = svidsOf(
    client,
    opened.certificates ?? [],
    new Map(session.grants.map((grant, at) => [grant, keys[at]])),
    now,
  );
  const missing = session.grants.filter((grant) => !first.has(grant));
  const [rest, identityToken] = await Promise.all([
    obtainSvids(client, accessToken, missing, now),
    opened.identity_token ? tokenOf(opened.identity_token, now) : obtainIdentityToken(client, accessToken, now),
  ]);
  return {
    ...{ accessToken, session, services, kubernetes, identityToken },
    mesh: { ...mesh, roots: rest.roots ?? mesh.roots },
    servicesVersion: undefined,
    svids: new Map([...first, ...rest.svids]),
  };
}

/** One new key and certificate for each grant. */
export async function obtainSvids(
  client: BrokerClient,
  accessToken: string,
  grants: readonly string[],
  now: () => number,
): Promise<{ readonly svids: ReadonlyMap<string, Svid>; readonly roots: string[] | undefined }> {
  if (grants.length === 0) return { svids: new Map(), roots: undefined };
  const keys = new Map(grants.map((grant) => [grant, newKey()]));
  const answer = await client.certificates(
    accessToken,
    [...keys].map(([grant, key]) => ({ grant, csr: createCsr(key) })),
  );
  const svids = svidsOf(client, answer.certificates, keys, now);
  for (const grant of grants) {
    if (!svids.has(grant))
      throw new MeshpassError('ca_unavailable', `The broker gave no certificate for grant ${grant}.`);
  }
  return { svids, roots: answer.roots };
}

/** @param identityToken absent: the one before stays */
export function withCertificates(
  before: Credentials,
  { svids, roots }: Awaited<ReturnType<typeof obtainSvids>>,
  identityToken = before.identityToken,
): Credentials {
  return {
    ...{ ...before, identityToken },
    svids: new Map([...before.svids, ...svids]),
    mesh: roots ? { ...before.mesh, roots } : before.mesh,
  };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** @param keys by grant; of another grant nothing is taken. @throws MeshpassError where a certificate is not of its grant's key */
function svidsOf(
  client: BrokerClient,
  certificates: CertificateResponse['certificates'],
  keys: ReadonlyMap<string, KeyObject | undefined>,
  now: () => number,
): ReadonlyMap<string, Svid> {
  const issuedAt = now();
  const svids = new Map<string, Svid>();
  for (const certificate of certificates) {
    const key = keys.get(certificate.grant);
    if (!key) continue;
    acceptCertificate(certificate, key, client.brokerNow / 1000);
    svids.set(certificate.grant, {
      grant: certificate.grant,
      spiffeId: certificate.spiffe_id,
      chain: certificate.chain,
      privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
      issuedAt,
      expiresAt: issuedAt + certificate.not_after * 1000 - client.brokerNow,
    });
  }
  return svids;
}

/** The JWT that rides on requests. */
export async function obtainIdentityToken(
  client: BrokerClient,
  accessToken: string,
  now: () => number,
): Promise<IdentityToken> {
  return tokenOf(await client.token(accessToken), now);
}

function tokenOf({ access_token: value, expires_in: seconds }: TokenResponse, now: () => number): IdentityToken {
  const issuedAt = now();
  return { value, kid: keyOf(value), issuedAt, expiresAt: issuedAt + seconds * 1000 };
}

/** RFC 7515 section 4.1.4. */
function keyOf(token: string): string | undefined {
  try {
    const { kid } = JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid?: unknown };
    return typeof kid === 'string' ? kid : undefined;
  } catch {
    return undefined;
  }
}
