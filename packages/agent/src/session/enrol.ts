/** From a proof to working credentials: a session, one SVID per grant, an identity token. */
import { generateKeyPairSync } from 'node:crypto';
import type { Proof } from '@meshpass/identity/attestation';
import { createCsr } from '@meshpass/identity/csr';
import { type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import type { MeshInfo, ReachableService, SessionInfo } from '@meshpass/identity/wire';
import { acceptCertificate } from './accept-certificate.ts';
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
  readonly servicesVersion: string | undefined;
  readonly svids: ReadonlyMap<string, Svid>;
  readonly identityToken: IdentityToken;
}

/** A fresh P-256 key for DPoP. */
export function newDpopKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/** Opens a session and fetches everything that it carries. @throws MeshpassError of the broker, or agent_broker_unreachable */
export async function enrol(client: BrokerClient, proof: Proof, now: () => number): Promise<Credentials> {
  const opened = await client.openSession(proof);
  const { access_token: accessToken, session, mesh, services } = opened;
  const [certificates, identityToken] = await Promise.all([
    obtainSvids(client, accessToken, session.grants, now),
    obtainIdentityToken(client, accessToken, now),
  ]);
  return {
    accessToken,
    session,
    mesh: { ...mesh, roots: certificates.roots ?? mesh.roots },
    services,
    servicesVersion: undefined,
    svids: certificates.svids,
    identityToken,
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
  const keys = new Map(grants.map((grant) => [grant, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey]));
  const answer = await client.certificates(
    accessToken,
    [...keys].map(([grant, key]) => ({ grant, csr: createCsr(key) })),
  );
  const issuedAt = now();
  const svids = new Map<string, Svid>();
  for (const certificate of answer.certificates) {
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
  for (const grant of grants) {
    if (!svids.has(grant))
      throw new MeshpassError('ca_unavailable', `The broker gave no certificate for grant ${grant}.`);
  }
  return { svids, roots: answer.roots };
}

/** The JWT that rides on requests. */
export async function obtainIdentityToken(
  client: BrokerClient,
  accessToken: string,
  now: () => number,
): Promise<IdentityToken> {
  const answer = await client.token(accessToken);
  const issuedAt = now();
  const { access_token: value } = answer;
  return { value, kid: keyOf(value), issuedAt, expiresAt: issuedAt + answer.expires_in * 1000 };
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
