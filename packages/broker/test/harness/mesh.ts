/** In-memory mesh that signs each request and remembers each change. The real one has its own tests. */
import { rootCertificates } from 'node:tls';
import type { Access, Authorize, Denial, Grant, Operators, Trust, TrustedIssuer } from '@meshpass/access';
import { formatSpiffe, MeshpassError } from '@meshpass/identity';
import type { CertificateAuthority, SignRequest } from '../../src/mesh/istiod/authority.ts';
import type { MeshState, Revoker } from '../../src/mesh/reconcile/connect-mesh.ts';
import type { MeshPrincipal, RevokedPrincipal } from '../../src/mesh/reconcile/revocation/revoker.ts';

export interface PlayedMesh extends MeshState {
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly authorize: Authorize;
  readonly setAccess: (
    grants: readonly Grant[],
    audiences?: readonly string[],
    trust?: Partial<Trust>,
    deny?: readonly Denial[],
    more?: Pick<Access, 'webhooks' | 'contact'>,
  ) => void;
  /** Changes the operators of the broker. */
  readonly setOperators: (operators: Operators | undefined) => void;
  readonly signed: SignRequest[];
  /** Queues of the CA without a free place. */
  readonly full: Set<SignRequest['queue']>;
  /** The last list that the revoker was given. */
  revoked: readonly RevokedPrincipal[];
  /** Awaited before a signature is given. */
  beforeSigning: (request: SignRequest) => Promise<void>;
  revokerDown: boolean;
  /** Sessions known to the cluster, besides those that the broker knows. */
  principals: readonly MeshPrincipal[];
  /** Namespaces in which grants have roles of Kubernetes. */
  readonly roles: Map<string, readonly string[]>;
  notReady: string[];
  /** Why the access file on disk cannot come into force. */
  badFile: string | undefined;
  /** Token keys known to sidecars. */
  keys: ReadonlySet<string>;
  keyChanges: number;
}

/** Whom access files trust here: the harness's own IdP (idp.ts). */
export const ISSUERS: readonly TrustedIssuer[] = [
  {
    name: 'idp',
    issuer: 'https://idp.example',
    audience: 'meshpass',
    algorithms: ['ES256'],
    kind: 'generic',
    signIn: {
      client: 'meshpass-operators',
      scopes: ['groups'],
      refresh: true,
      confirm: 60,
      nonce: 'optional' as const,
    },
  },
];

const place = { file: 'access.yaml', line: 1, column: 1 };

/** @param subjects holders of the grant; every person if empty */
export function grant(name: string, subjects: readonly string[] = [], more: Partial<Grant> = {}): Grant {
  const who = subjects.map((subject) => ({ place, when: `subject == "${subject}"` }));
  const to = [{ place, service: 'orders', namespace: 'shop', port: 8080 }];
  return { name, place, who, to, kubernetesRoles: [], ttl: 600, session: 3600, ...more };
}

export function playMesh(): PlayedMesh {
  const listeners = new Set<() => void>();
  let access: Access = {
    file: 'access.yaml',
    trust: { issuers: ISSUERS, audiences: ['sts.amazonaws.com'] },
    grants: [],
  };
  let version = 0;
  const mesh: PlayedMesh = {
    signed: [],
    full: new Set(),
    revoked: [],
    revokerDown: false,
    principals: [],
    roles: new Map(),
    notReady: [],
    badFile: undefined,
    keys: new Set(),
    keyChanges: 0,
    beforeSigning: async () => {},
    access: () => {
      if (mesh.inForce()) return access;
      throw new MeshpassError('kubernetes_unavailable', 'The access file is not in force yet.', { retryAfter: 1 });
    },
    roots: () => rootCertificates.slice(0, 1),
    services: (names) =>
      access.grants
        .filter((one) => names.includes(one.name))
        .flatMap((one) =>
          one.to.map((to) => ({
            grant: one.name,
            host: `${to.service}.${to.namespace}.svc.cluster.local`,
            port: Number(to.port),
            aliases: [`${to.service}.${to.namespace}`],
            protocol: 'http' as const,
            spiffe_ids: [],
          })),
        ),
    kubernetes: () => new Map(mesh.roles),
    ports: () => [],
    version: () => String(version),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    inForce: () => mesh.notReady.length === 0,
    unready: () => mesh.notReady,
    unseen: () => mesh.notReady,
    fileProblem: () => mesh.badFile,
    wasInForce: () => {},
    tokenKeys: () => mesh.keys,
    tokenKeysChanged: () => {
      mesh.keyChanges++;
    },
    setAccess: (grants, audiences = ['sts.amazonaws.com'], trust = {}, deny = [], more = {}) => {
      const { operators } = access;
      access = { file: 'access.yaml', trust: { issuers: ISSUERS, audiences, ...trust }, deny, grants, ...more };
      if (operators) access = { ...access, operators };
      version++;
      for (const listener of listeners) listener();
    },
    setOperators: (operators) => {
      const { operators: _, ...rest } = access;
      access = operators ? { ...rest, operators } : rest;
      version++;
      for (const listener of listeners) listener();
    },
    // Grants are by subject here; other tests cover reading the access file.
    authorize: (attestation, { grants }) => {
      const holds = (one: Grant) =>
        one.who.length === 0 || one.who.some((who) => who.when === `subject == "${attestation.subject}"`);
      return {
        grants: grants.filter(holds).map((one) => ({ grant: one, reason: 'the subject is named' })),
        requestable: [],
        refusals: grants.filter((one) => !holds(one)).map((one) => `${one.name}: the subject is not named`),
      };
    },
    authority: {
      assertRoom: (queue) => {
        if (mesh.full.has(queue)) throw new MeshpassError('overloaded', 'Too many certificates.', { retryAfter: 7 });
      },
      sign: async (request) => {
        await mesh.beforeSigning(request);
        mesh.signed.push(request);
        const notBefore = Math.floor(Date.now() / 1000);
        const { namespace, serviceAccount } = request;
        return {
          spiffeId: formatSpiffe({ trustDomain: 'cluster.local', namespace, serviceAccount }),
          chain: '-----BEGIN CERTIFICATE-----\nc2lnbmVk\n-----END CERTIFICATE-----\n',
          notBefore,
          notAfter: notBefore + request.ttl,
          root: 'f'.repeat(64),
        };
      },
    },
    revoker: {
      apply: async (revoked) => {
        if (mesh.revokerDown) throw new MeshpassError('kubernetes_unavailable', 'Kubernetes does not answer.');
        mesh.revoked = revoked;
      },
      collectOrphans: async () => [],
      principals: async () => mesh.principals,
    },
  };
  return mesh;
}
