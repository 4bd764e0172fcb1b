/** Sets up the broker's connections to the mesh: certificates, revocations, mesh state and edge token reviews. */

import type { IdentityTokens, Manifest } from '@meshpass/access';
import { isDnsLabel, isTrustDomain, MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import { z } from 'zod';
import { type Log, toUnixSeconds } from '../../base/index.ts';
import type { ActiveState } from '../../store/index.ts';
import { createCertificateAuthority } from '../istiod/authority.ts';
import { openIstiodConnection } from '../istiod/connection.ts';
import { connectIstiod } from '../istiod/istiod.ts';
import { kubeconfigAccess, podAccess } from '../kubernetes/access.ts';
import { createKubernetesHttp } from '../kubernetes/http.ts';
import { requestIstiodToken } from '../kubernetes/istiod-token.ts';
import { createKubernetes, restrictWritesToLeader } from '../kubernetes/kubernetes.ts';
import { createKubernetesTokens } from '../kubernetes/session-tokens.ts';
import { readAccessFile } from './access-file.ts';
import { dryRunManifests } from './apply.ts';
import { viewCluster } from './cluster-view.ts';
import { createMeshState } from './mesh-state.ts';
import { readPolicyResources } from './policy-resources.ts';
import { createRevoker } from './revocation/revoker.ts';

const label = z.string().refine(isDnsLabel, 'must be a valid Kubernetes name');
const hostPort = z.string().regex(/^(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}$/, 'must have the form HOST:PORT');

export const MeshConfig = z.strictObject({
  /** Path of the kubeconfig. Absent inside a Pod. */
  kubeconfig: z.string().min(1).optional(),
  /** Path of the access file. */
  accessFile: z.string().min(1),
  istiod: z
    .strictObject({
      address: hostPort.default('istiod.istio-system.svc:15012'),
      /** DNS name that istiod's certificate must contain. */
      serverName: z.string().min(1).default('istiod.istio-system.svc'),
      /**
       * Path of a PEM file with the roots, which is reloaded when it changes. By default, the roots come from the
       * ConfigMap `istio-ca-root-cert`, which istiod updates when roots are rotated.
       */
      rootsFile: z.string().min(1).optional(),
    })
    .prefault({}),
  trustDomain: z.string().refine(isTrustDomain, 'must be a valid trust domain').default('cluster.local'),
  rootNamespace: label.default('istio-system'),
  clusterDomain: z.string().min(1).default('cluster.local'),
  gateway: z
    .strictObject({
      namespace: label.default('meshpass-system'),
      labels: z.record(z.string(), z.string()).default({ istio: 'meshpass-gateway' }),
      port: z.number().int().min(1).max(65535).default(15443),
    })
    .prefault({}),
  /** Audience from the API server's `--api-audiences`. If absent, workspaces do not get tokens for the API server. */
  kubernetesAudience: z.string().min(1, 'must not be empty').max(512).optional(),
  /** Whether a GitOps controller applies the compiled access file. */
  gitops: z.boolean().default(false),
  /** Interval at which drift is repaired, seconds. */
  resyncSeconds: z.number().positive().default(60),
});
export type MeshConfig = z.input<typeof MeshConfig>;

export interface MeshParts {
  /** Returns the token keys that sidecars must currently accept. Call `state.tokenKeysChanged()` when they change. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Creates the revoker. Defaults to createRevoker(). */
  readonly makeRevoker?: typeof createRevoker;
  /** Leadership state. Only the active broker writes to Kubernetes. If absent, this is the only broker. */
  readonly activeState?: Pick<ActiveState, 'activated' | 'isLeader'>;
}

export type ConnectedMesh = Awaited<ReturnType<typeof connectMesh>>;

/**
 * Maximum size of a message on a stream from istiod, bytes. A message contains all clusters or endpoints of a grant.
 */
const MAX_STREAM_MESSAGE = 32 * 1024 * 1024;
/**
 * Maximum token size. All ServiceAccount tokens are smaller. The limit prevents clients from sending bulk data to
 * TokenReview.
 */
const MAX_TOKEN_BYTES = 16 * 1024;

/**
 * Starts to watch the cluster, apply policies and sign certificates. Kubernetes and istiod do not have to respond yet:
 * `state.unready()` reports readiness. SIGHUP reloads the access file.
 * @throws MeshpassError `config_invalid`
 */
export async function connectMesh(given: MeshConfig, parts: MeshParts) {
  const read = MeshConfig.safeParse(given);
  if (!read.success) {
    const [issue] = read.error.issues;
    const at = issue?.path.join('.') || 'the top level';
    throw new MeshpassError('config_invalid', `The mesh configuration is invalid at ${at}: ${issue?.message}.`);
  }
  const config = read.data;
  const { log } = parts;
  const now = () => toUnixSeconds(Date.now);
  const access = config.kubeconfig ? await kubeconfigAccess(config.kubeconfig) : await podAccess(process.env);
  const http = createKubernetesHttp(access);
  const { activeState } = parts;
  const cluster = activeState
    ? restrictWritesToLeader(activeState.isLeader, createKubernetes(http))
    : createKubernetes(http);

  const view = viewCluster({
    http,
    log,
    rootsNamespace: config.rootNamespace,
    rootsFile: config.istiod.rootsFile,
  });
  const { trustDomain, rootNamespace, clusterDomain, gateway, accessFile } = config;
  const state = createMeshState({
    view,
    kubernetes: cluster,
    log,
    now,
    accessFile,
    mesh: { trustDomain, rootNamespace, clusterDomain, gateway },
    tokens: parts.tokens,
    gitops: config.gitops,
    offersKubernetes: config.kubernetesAudience !== undefined,
    resync: config.resyncSeconds * 1000,
    activated: activeState?.activated,
  });
  const { makeRevoker = createRevoker } = parts;
  const revoker = makeRevoker({
    kubernetes: cluster,
    trustDomain,
    rootNamespace,
    now,
    httpServers: state.httpServers,
  });
  const istiod = connectIstiod({ ...config.istiod, roots: view.roots });
  const streams = openIstiodConnection({ ...config.istiod, roots: view.roots }, MAX_STREAM_MESSAGE);
  const authority = createCertificateAuthority({
    kubernetes: cluster,
    istiod,
    trustDomain,
    now,
    roots: view.roots,
    isRevoked: revoker.isRevoked,
  });
  const reload = (): void => void state.reload();
  process.on('SIGHUP', reload);

  return {
    authority,
    revoker,
    state,
    /** Source of Envoy configuration for the relay. */
    relay: {
      connection: streams,
      // The ServiceAccount exists as long as the grant's namespace.
      token: (namespace: string, signal: AbortSignal) =>
        requestIstiodToken(cluster, { namespace, name: RELAY_ACCOUNT }, true, signal),
      trustDomain,
      clusterDomain,
    },
    /** Issuer of tokens for the API server. Absent if this is not configured. */
    kubernetesTokens:
      config.kubernetesAudience === undefined
        ? undefined
        : createKubernetesTokens(cluster, config.kubernetesAudience, access.tls.ca?.toString()),
    /** Interface to the mesh for access file changes. */
    policy: {
      /**
       * Lists all objects in the cluster that policy depends on.
       * @throws MeshpassError `kubernetes_unavailable`
       */
      read: () => readPolicyResources(cluster),
      shape: { trustDomain, rootNamespace, clusterDomain, gateway },
      tokens: parts.tokens,
      /** Returns the access file in force, if any. */
      inForce: () => (state.inForce() ? state.access() : undefined),
      /**
       * Checks with a dry run whether the cluster would accept these objects from the broker. With GitOps, the check is
       * skipped, because the controller writes the objects and not the broker.
       * @throws MeshpassError `policy_forbidden`, `kubernetes_unavailable`
       */
      rehearse: async (manifests: readonly Manifest[]): Promise<void> => {
        if (!config.gitops) await dryRunManifests(manifests, cluster);
      },
      take: state.take,
      resume: state.resume,
      /**
       * Reads the access file on disk with its includes.
       * @throws MeshpassError `access_*`
       */
      onDisk: () => readAccessFile(config.accessFile),
      followDisk: state.followDisk,
      drift: state.drift,
      /** Calls the listener when objects that policy depends on change. Returns a function that unsubscribes it. */
      onChange: (listener: () => void): (() => void) => {
        const both = [view.onChange(listener), state.onChange(listener)];
        return () => {
          for (const cancel of both) cancel();
        };
      },
    },
    /**
     * Reviews a ServiceAccount token for this audience.
     * @returns the user name (`system:serviceaccount:NAMESPACE:NAME`), or undefined if the token is invalid
     * @throws MeshpassError `kubernetes_unavailable`
     */
    reviewToken: async (token: string, audience: string) => {
      if (token === '' || token.length > MAX_TOKEN_BYTES) return undefined;
      return cluster.reviewToken(token, audience);
    },
    close: () => {
      process.off('SIGHUP', reload);
      state.close();
      view.close();
      istiod.close();
      streams.close();
      http.close();
    },
  };
}
