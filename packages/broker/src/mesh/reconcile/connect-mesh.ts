/**
 * Sets up everything the broker needs from the mesh: certificates, revocations, the mesh state and token reviews for
 * edges.
 */

import type { IdentityTokens, Manifest } from '@meshpass/access';
import { isDnsLabel, isTrustDomain, MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import { z } from 'zod';
import { type Log, toUnixSeconds } from '../../base/index.ts';
import type { ActiveState } from '../../store/index.ts';
import { createCertificateAuthority } from '../istiod/authority.ts';
import { connectIstiod, openIstiodConnection } from '../istiod/istiod.ts';
import { kubeconfigAccess, podAccess } from '../kubernetes/access.ts';
import { createKubernetesHttp } from '../kubernetes/http.ts';
import { createKubernetes } from '../kubernetes/kubernetes.ts';
import { createKubernetesTokens } from '../kubernetes/service-account-tokens.ts';
import { readAccessFile } from './access-file.ts';
import { dryRunManifests } from './apply-compiled.ts';
import { viewCluster } from './cluster-view.ts';
import { createMeshState, type LiveMeshState } from './mesh-state.ts';
import { readPolicyResources } from './policy-resources.ts';
import { createRevoker } from './revocation/revoker.ts';

const label = z.string().refine(isDnsLabel, 'must be a valid Kubernetes name');
const hostPort = z.string().regex(/^(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}$/, 'must have the form HOST:PORT');

export const MeshConfig = z.strictObject({
  /** The path to the kubeconfig. Not needed inside a Pod. */
  kubeconfig: z.string().min(1).optional(),
  /** The path to the access file. */
  accessFile: z.string().min(1),
  istiod: z
    .strictObject({
      address: hostPort.default('istiod.istio-system.svc:15012'),
      /** The DNS name that istiod's certificate must contain. */
      serverName: z.string().min(1).default('istiod.istio-system.svc'),
      /**
       * The path to a PEM file with the mesh roots, which is reloaded when it changes. By default, the roots come from
       * the ConfigMap `istio-ca-root-cert`, which istiod updates when roots are rotated.
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
  /**
   * The audience of tokens for the API server, which must be one of its `--api-audiences`. If absent, workspaces do not
   * get such tokens.
   */
  kubernetesAudience: z.string().min(1, 'must not be empty').max(512).optional(),
  /** Whether a GitOps controller applies the compiled access file. */
  gitops: z.boolean().default(false),
  /** How often drift is repaired, in seconds. */
  resyncSeconds: z.number().positive().default(60),
});
export type MeshConfig = z.input<typeof MeshConfig>;

export interface MeshParts {
  /** Returns the token keys that sidecars must currently accept. Call `state.tokenKeysChanged()` when they change. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Creates the revoker. Defaults to `createRevoker`. */
  readonly makeRevoker?: typeof createRevoker;
  /**
   * Tells whether this broker is active, because only the active broker may write to Kubernetes. If absent, this is the
   * only broker.
   */
  readonly activeState?: Pick<ActiveState, 'activated' | 'isLeader'>;
}

export type ConnectedMesh = Awaited<ReturnType<typeof connectMesh>>;

// The parts of the mesh that sessions, tokens and policy changes use. Tests replace them.

export type Revoker = Pick<ConnectedMesh['revoker'], 'apply' | 'collectOrphans' | 'principals'>;

/** The interface to the mesh that is used for changing the access file. */
export type PolicyMesh = ConnectedMesh['policy'];

/**
 * The current state of the mesh and the access file. The members are listed individually so that new controls are not
 * exposed to sessions by accident.
 */
export type MeshState = Pick<
  LiveMeshState,
  | 'access'
  | 'inForce'
  | 'wasInForce'
  | 'unseen'
  | 'fileProblem'
  | 'roots'
  | 'services'
  | 'ports'
  | 'kubernetes'
  | 'tokenKeys'
  | 'tokenKeysChanged'
  | 'version'
  | 'onChange'
  | 'unready'
>;

/**
 * The maximum size of a message on a stream from istiod, in bytes. A single message contains all clusters or all
 * endpoints of a grant.
 */
const MAX_STREAM_MESSAGE = 32 * 1024 * 1024;
/**
 * Starts watching the cluster, applying policies and signing certificates. Kubernetes and istiod do not have to be
 * available yet: `state.unready()` reports whether they are. SIGHUP reloads the access file.
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
  const cluster = createKubernetes(http, activeState?.isLeader);

  const view = viewCluster({
    http,
    log,
    rootsNamespace: config.rootNamespace,
    rootsFile: config.istiod.rootsFile,
  });
  const { trustDomain, rootNamespace, clusterDomain, gateway, accessFile } = config;
  const shape = { trustDomain, rootNamespace, clusterDomain, gateway };
  const state = createMeshState({
    view,
    kubernetes: cluster,
    log,
    now,
    accessFile,
    mesh: shape,
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
    /** The source from which the relay gets Envoy configuration. */
    relay: {
      connection: streams,
      // The ServiceAccount exists for as long as the grant's namespace does.
      token: (namespace: string, signal: AbortSignal) =>
        cluster.requestIstiodToken({ namespace, name: RELAY_ACCOUNT }, true, signal),
      trustDomain,
      clusterDomain,
    },
    /** Issues tokens for the API server. Undefined if this is not configured. */
    kubernetesTokens:
      config.kubernetesAudience === undefined
        ? undefined
        : createKubernetesTokens(cluster, config.kubernetesAudience, access.tls.ca?.toString()),
    /** The interface to the mesh that is used for changing the access file. */
    policy: {
      /**
       * Lists all objects in the cluster that policies depend on.
       * @throws MeshpassError `kubernetes_unavailable`
       */
      read: () => readPolicyResources(cluster),
      shape,
      tokens: parts.tokens,
      /** Returns the access file that is in force, if there is one. */
      inForce: () => (state.inForce() ? state.access() : undefined),
      /**
       * Uses a dry run to check whether the cluster would accept these objects from the broker. With GitOps, this check
       * is skipped, because the objects are written by a controller and not by the broker.
       * @throws MeshpassError `policy_forbidden`, `kubernetes_unavailable`
       */
      rehearse: async (manifests: readonly Manifest[]): Promise<void> => {
        if (!config.gitops) await dryRunManifests(manifests, cluster);
      },
      take: state.take,
      resume: state.resume,
      /**
       * Reads the access file and its includes from disk.
       * @throws MeshpassError `access_*`
       */
      onDisk: () => readAccessFile(accessFile),
      followDisk: state.followDisk,
      drift: state.drift,
      /**
       * Registers a listener that is called when objects that policies depend on have changed. Returns a function that
       * removes the listener.
       */
      onChange: (listener: () => void): (() => void) => {
        const both = [view.onChange(listener), state.onChange(listener)];
        return () => {
          for (const cancel of both) cancel();
        };
      },
    },
    reviewToken: cluster.reviewToken,
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
