/** Exchanges a proof for working credentials: a session, an SVID for each grant, and an identity token. */
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import {
  createCsr,
  type DpopKey,
  dpopKey,
  MeshpassError,
  type Proof,
  parseJwsPart,
  spiffeIdFromSan,
} from '@meshpass/identity';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes';
import type {
  CertificateResponse,
  MeshInfo,
  ReachableService,
  SessionInfo,
  SessionResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import type { BrokerClient, WholeConfiguration } from './broker-client.ts';

/** The certificate and private key of a grant. All times are in milliseconds, according to the local clock. */
export interface Svid {
  readonly grant: string;
  readonly spiffeId: string;
  readonly chain: string;
  /** The private key as PEM (PKCS#8). It is only kept in memory. */
  readonly privateKey: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface IdentityToken {
  readonly value: string;
  /** The ID of the signing key. Undefined if the token's header does not contain one. */
  readonly kid: string | undefined;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface Credentials {
  /** The session token. It is bound to the DPoP key, and useless without it. */
  readonly accessToken: string;
  readonly session: SessionInfo;
  readonly mesh: MeshInfo;
  readonly services: readonly ReachableService[];
  /** The session's access to Kubernetes. Absent if no grant has roles. */
  readonly kubernetes?: KubernetesAccess | undefined;
  readonly servicesVersion: string | undefined;
  readonly svids: ReadonlyMap<string, Svid>;
  readonly identityToken: IdentityToken;
  /** The configuration that was delivered when the session was opened. */
  readonly firstConfiguration: WholeConfiguration | undefined;
}

/** Generates a P-256 key pair for DPoP. */
export function generateDpopKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/**
 * The number of CSRs that are sent along with a proof, before the session's grants are known. Most workspaces have no
 * more grants than this.
 */
const FIRST_CSRS = 4;

/**
 * Opens a session and obtains its credentials. If the broker has all of them ready, this takes a single request. If
 * anything fails, the session is ended.
 * @param token called with the session token as soon as it is known
 * @throws MeshpassError the broker's refusal, or agent_broker_unreachable
 */
export async function enrol(
  client: BrokerClient,
  proof: Proof,
  now: () => number,
  token: (accessToken: string) => void,
): Promise<Credentials> {
  // A CSR only identifies its key, so the broker assigns the CSRs to the grants in order.
  const keys = Array.from({ length: FIRST_CSRS }, newKey);
  const opened = await client.openSession(proof, keys.map(createCsr));
  token(opened.access_token);
  try {
    return await fetched(client, opened, keys, now);
  } catch (error) {
    await client.goodbye(opened.access_token).catch(() => {}); // if this fails, the session ends with its lease
    throw error;
  }
}

async function fetched(
  client: BrokerClient,
  opened: SessionResponse,
  keys: readonly KeyObject[],
  now: () => number,
): Promise<Credentials> {
  const { access_token: accessToken, session, mesh, services, kubernetes, configuration } = opened;
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
    accessToken,
    session,
    services,
    kubernetes,
    identityToken,
    mesh: { ...mesh, roots: rest.roots ?? mesh.roots },
    servicesVersion: undefined,
    svids: new Map([...first, ...rest.svids]),
    firstConfiguration: configuration && { ...configuration, content: Buffer.from(configuration.content) },
  };
}

/** Obtains a certificate for each of the given grants, with a new key for each. */
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
      throw new MeshpassError('ca_unavailable', `The broker did not issue a certificate for grant ${grant}.`);
  }
  return { svids, roots: answer.roots };
}

/**
 * Returns the credentials with new certificates and root certificates.
 * @param identityToken the new identity token. Defaults to the previous one
 */
export function withCertificates(
  before: Credentials,
  { svids, roots }: Awaited<ReturnType<typeof obtainSvids>>,
  identityToken = before.identityToken,
): Credentials {
  return {
    ...before,
    identityToken,
    svids: new Map([...before.svids, ...svids]),
    mesh: roots ? { ...before.mesh, roots } : before.mesh,
  };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/**
 * Checks the certificates and pairs each of them with its private key.
 * @param keys the private keys, by grant. Certificates for other grants are ignored
 * @throws MeshpassError if a certificate does not match the key of its grant
 */
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

/** Obtains the identity token, a JWT that is sent along with requests. */
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

/** Reads the key ID from the header of a token (RFC 7515 section 4.1.4). */
function keyOf(token: string): string | undefined {
  const { kid } = (parseJwsPart(token.split('.')[0]!) ?? {}) as { kid?: unknown };
  return typeof kid === 'string' ? kid : undefined;
}

// The following functions check certificates from the broker. A certificate must match the key that was generated for
// it, and its chain must be readable.

/** The maximum lifetime of an SVID, in seconds. */
const LONGEST_LIFE = 86_400;

/**
 * Checks a certificate as soon as it is received. If it were issued for a different key, every connection would fail,
 * long after the actual mistake.
 * @param now the current time according to the broker's clock, in Unix seconds
 * @throws MeshpassError agent_broker_answer_invalid
 */
function acceptCertificate(given: CertificateResponse['certificates'][number], key: KeyObject, now: number) {
  const leaf = readLeaf(given.chain);
  if (!leaf?.checkPrivateKey(key)) throw invalid(given.grant, 'does not match the key that was sent');
  if (spiffeIdFromSan(leaf.subjectAltName) !== given.spiffe_id) throw invalid(given.grant, 'has a different SPIFFE id');
  if (given.not_after - now > LONGEST_LIFE) throw invalid(given.grant, 'is valid for more than a day');
}

function readLeaf(chain: string): X509Certificate | undefined {
  try {
    return certificatesIn(chain)[0];
  } catch {
    return undefined;
  }
}

function invalid(grant: string, what: string): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The broker's certificate for grant ${grant} ${what}. The agent rejected it.`,
  );
}

// The following functions parse the broker's certificates, and check whether the workspace's certificates still chain
// to a root.

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Parses all certificates in a PEM text.
 * @throws Error if any of the certificates is invalid
 */
function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(BLOCK) ?? []).map((block) => new X509Certificate(block));
}

/**
 * Returns whether one of the root certificates issued the last certificate in a chain. Returns false if any certificate
 * is invalid.
 * @param chain the chain as PEM, starting with the leaf and without the root certificate
 * @param roots PEM texts, each of which contains one or more root certificates
 */
export function chainsToRoot(chain: string, roots: readonly string[]): boolean {
  try {
    const last = certificatesIn(chain).at(-1);
    return roots
      .flatMap(certificatesIn)
      .some((root) => last?.checkIssued(root) === true && last.verify(root.publicKey));
  } catch {
    return false;
  }
}
