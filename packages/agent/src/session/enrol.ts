/** Turns a proof into working credentials: a session, one SVID per grant and an identity token. */
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import type { Proof } from '@meshpass/identity/attestation';
import { createCsr } from '@meshpass/identity/csr';
import { type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import { parseJwsPart } from '@meshpass/identity/jws/json';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes/wire';
import { spiffeIdFromSan } from '@meshpass/identity/spiffe';
import type {
  CertificateResponse,
  MeshInfo,
  ReachableService,
  SessionInfo,
  SessionResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import type { BrokerClient, WholeConfiguration } from './broker-client.ts';

/** Certificate and key of a grant. All times are milliseconds on the local clock. */
export interface Svid {
  readonly grant: string;
  readonly spiffeId: string;
  readonly chain: string;
  /** Private key, PEM (PKCS#8). It is kept only in memory. */
  readonly privateKey: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface IdentityToken {
  readonly value: string;
  /** Id of the signing key. Undefined if the token's header does not contain one. */
  readonly kid: string | undefined;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface Credentials {
  /** Session token. It is bound to the DPoP key and useless without it. */
  readonly accessToken: string;
  readonly session: SessionInfo;
  readonly mesh: MeshInfo;
  readonly services: readonly ReachableService[];
  /** Kubernetes access. Absent if no grant has roles. */
  readonly kubernetes?: KubernetesAccess | undefined;
  readonly servicesVersion: string | undefined;
  readonly svids: ReadonlyMap<string, Svid>;
  readonly identityToken: IdentityToken;
  /** Configuration that was delivered when the session was opened. */
  readonly firstConfiguration: WholeConfiguration | undefined;
}

/** Generates a P-256 key for DPoP. */
export function generateDpopKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/**
 * Number of CSRs that are sent with a proof, before the session's grants are known. Most workspaces have no more grants
 * than this.
 */
const FIRST_CSRS = 4;

/**
 * Opens a session and obtains its credentials. This takes a single exchange if the broker has all of them ready. If
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
  // A CSR identifies only its key, so the broker assigns CSRs to grants in order.
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

/** Obtains a certificate for each grant, each with a new key. */
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
 * Returns credentials with new certificates and roots.
 * @param identityToken defaults to the previous token
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
 * Checks certificates and pairs each one with its key.
 * @param keys keys by grant. Certificates for other grants are ignored
 * @throws MeshpassError if a certificate does not match its grant's key
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

/** Obtains the identity token, which is a JWT that is sent with requests. */
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

/** Reads the key id from a token's header (RFC 7515 section 4.1.4). */
function keyOf(token: string): string | undefined {
  const { kid } = (parseJwsPart(token.split('.')[0]!) ?? {}) as { kid?: unknown };
  return typeof kid === 'string' ? kid : undefined;
}

// Checks of a certificate from the broker. It must match the key that was generated for it, and its chain must be
// readable.

/** Maximum lifetime of an SVID, seconds. */
const LONGEST_LIFE = 86_400;

/**
 * Checks a certificate when it is received. A certificate for a different key would make every connection fail, long
 * after the cause.
 * @param now Unix seconds on the broker's clock
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

// Parsing of the broker's certificates, and a check whether the workspace's own certificates still chain to a root.

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Parses all certificates in a PEM text.
 * @throws Error if any of them is invalid
 */
function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(BLOCK) ?? []).map((block) => new X509Certificate(block));
}

/**
 * Whether one of the roots issued the last certificate in a chain. False if any certificate is invalid.
 * @param chain PEM, starting with the leaf and without the root
 * @param roots PEM texts with one or more certificates each
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
