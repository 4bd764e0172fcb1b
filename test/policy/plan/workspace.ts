/** Calls of workspaces: through the mesh gateway, with certificates of the mesh's own istiod. */
import { generateKeyPairSync } from 'node:crypto';
import { createCertificateAuthority } from '@meshpass/broker/mesh/istiod/authority';
import { checkCsr } from '@meshpass/broker/mesh/istiod/check-csr';
import { connectIstiod } from '@meshpass/broker/mesh/istiod/istiod';
import type { createKubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { createKubernetes as broker } from '@meshpass/broker/mesh/kubernetes/kubernetes';
import { openTunnel, probeTunnel, type TunnelCredentials } from '@meshpass/cli/drill/tunnel';
import { createCsr, formatSni, parseTarget } from '@meshpass/identity';
import type { Lab } from '@meshpass/lab';
import { exportJWK, SignJWT } from 'jose';
import { type Call, LEVELS } from './files.ts';
import { STARTUP } from './inside.ts';

const GRANTS = ['dev', 'ops'] as const;
const ISSUER = 'https://plan.meshpass.test';
const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'plan', alg: 'RS256' }] });
export const TOKENS = { issuer: ISSUER, audience: 'meshpass', header: 'x-meshpass-token', jwks };

/** Account of the workspaces in a grant's namespace. */
export const ACCOUNT = 'tester';

export interface Workspaces {
  /** Whether a call works. */
  readonly works: (call: Call) => Promise<boolean>;
}

/** Prepares a workspace of each grant. The grants' namespaces must exist. */
export async function openWorkspaces(lab: Lab, http: ReturnType<typeof createKubernetesHttp>): Promise<Workspaces> {
  const credentials = await certificates(lab, http);
  const tokens = new Map<string, string>();
  for (const grant of GRANTS)
    for (const [name, level] of Object.entries(LEVELS)) tokens.set(`${grant} ${name}`, await tokenFor(grant, level));
  const [host, port] = lab.gatewayAddress.split(':') as [string, string];
  return {
    works: async ([grant, method, target, path, level = 'senior']) => {
      const [name, subset] = target.split('#') as [string, string?];
      const full = name.replace(':', '.svc.cluster.local:');
      const sni = formatSni(parseTarget(full)!).replace('_._.', `_.${subset ?? ''}_.`);
      const order = { target: full, grant, sni, straightTo: { host, port: Number(port) } };
      if (method === 'TCP') return await connects(credentials, { ...order, alpn: ['istio'] });
      const send = [
        `${method} ${path} HTTP/1.1\r\nhost: ${full}\r\ncontent-length: 0\r\nconnection: close`,
        `x-meshpass-token: ${tokens.get(`${grant} ${level}`)}\r\n\r\n`,
      ].join('\r\n');
      const { answer = '' } = await probeTunnel(credentials, { ...order, send });
      return /^HTTP\/1\.1 20[01] /.test(answer);
    },
  };
}

function tokenFor(grant: string, level: readonly string[]): Promise<string> {
  return new SignJWT({ grants: [grant], attested: { level } })
    .setProtectedHeader({ alg: 'RS256', kid: 'plan' })
    .setIssuer(ISSUER)
    .setSubject('somebody')
    .setAudience(['meshpass'])
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(keys.privateKey);
}

/** A certificate for each grant, of the mesh's own istiod. */
async function certificates(lab: Lab, http: ReturnType<typeof createKubernetesHttp>): Promise<TunnelCredentials> {
  const roots = () => [lab.rootCaPem()];
  const istiod = connectIstiod({ address: lab.istiodAddress, serverName: 'istiod.istio-system.svc', roots });
  const authority = createCertificateAuthority({
    kubernetes: broker(http),
    istiod,
    trustDomain: 'cluster.local',
    roots,
    now: () => Math.floor(Date.now() / 1000),
    isRevoked: () => false,
  });
  const svids = new Map<string, { chain: string; privateKey: string }>();
  for (const grant of GRANTS) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const request = {
      namespace: `meshpass-${grant}`,
      serviceAccount: ACCOUNT,
      csr: await checkCsr(createCsr(privateKey)),
      ttl: 3600,
      queue: 'arrival',
    } as const;
    const { chain } = await authority.sign(request);
    svids.set(grant, { privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), chain });
  }
  istiod.close();
  return { svids, mesh: { roots: roots() } };
}

/** Whether the database answers. The client sends first, because RBAC decides at the first bytes. */
async function connects(credentials: TunnelCredentials, order: Parameters<typeof openTunnel>[1]): Promise<boolean> {
  const opened = await openTunnel(credentials, order);
  if (!('socket' in opened)) return false;
  try {
    return await new Promise<boolean>((resolve) => {
      const { socket } = opened;
      socket.once('data', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
      socket.write(STARTUP);
    });
  } finally {
    opened.end();
  }
}
