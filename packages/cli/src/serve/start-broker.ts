/** Starts the broker and, if --edge-listen is set, an edge in the same process. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { authorize } from '@meshpass/access';
import {
  type Broker,
  type BrokerConfig,
  createActiveState,
  createLogger,
  growHeapSlowly,
  openSigner,
  parseBrokerConfig,
  serveBroker,
} from '@meshpass/broker';
import { createAuthorCheck } from '@meshpass/broker/admin/policy/author';
import { createAttestor, createSignInVerifier } from '@meshpass/broker/attest/attest';
import { createTokenFileReader } from '@meshpass/broker/attest/github/api';
import { createGithubApp, type GithubApp } from '@meshpass/broker/attest/github/app';
import { createLosses } from '@meshpass/broker/attest/github/losses';
import { type ForwardingOptions, labOnlyForwardingHost } from '@meshpass/broker/attest/presence/forwarded-port';
import { createPresenceCheck } from '@meshpass/broker/attest/presence/presence';
import { openConfigMapSink } from '@meshpass/broker/audit/checkpoint/config-map-sink';
import { retryWhileUnavailable } from '@meshpass/broker/base/clock/until-it-answers';
import { readPrivateFile } from '@meshpass/broker/base/secrets/key-file';
import { keyFileStorage, openKeySecret } from '@meshpass/broker/core/token/key-storage';
import { createRateLimiter } from '@meshpass/broker/core/watch/rate-limiter';
import { createIssuerKeys } from '@meshpass/broker/issuers/oidc/issuer-keys';
import { createLogoutVerifier } from '@meshpass/broker/issuers/oidc/logout-token';
import { createActiveLabel } from '@meshpass/broker/mesh/kubernetes/active-label';
import { connectKubernetes } from '@meshpass/broker/mesh/kubernetes/http';
import { type ConnectedMesh, connectMesh } from '@meshpass/broker/mesh/reconcile/connect-mesh';
import { createDecisionQueue, createSessionDirectory, followFeed } from '@meshpass/edge';
import { MeshpassError } from '@meshpass/identity';
import { EXIT } from '../command/outcome.ts';
import { gatewayLocation } from '../command/shared-flags.ts';
import { type EdgeProcess, runEdge, waitForSignal } from './edge-process.ts';
import { parsePolicyAuthors, type ServeOptions } from './flags.ts';

/**
 * How long the edge in this process may receive nothing from the broker, in milliseconds. After a longer silence, the
 * process must have been suspended and may have missed events.
 */
const OWN_SILENCE_MS = 30_000;

/** The functions that connect a broker to the mesh and start serving requests. */
export interface Composition {
  readonly connectMesh: typeof connectMesh;
  readonly serveBroker: typeof serveBroker;
}

type Log = ReturnType<typeof createLogger>;

/**
 * The timeout for requests to GitHub and identity providers, in milliseconds. If a request times out, the agent
 * retries.
 */
const ISSUER_PATIENCE_MS = 5_000;
const LAST_WORDS_MS = 2_000;

const PRODUCT: Composition = { connectMesh, serveBroker };

/**
 * Runs a broker until a signal arrives.
 * @throws MeshpassError if the broker cannot start or has lost its store
 */
export async function startBroker(options: ServeOptions, { connectMesh, serveBroker } = PRODUCT): Promise<void> {
  // Only do this if there is no edge in the process. The bytes that an edge forwards also have to be garbage-collected,
  // and collecting them more often would reduce its throughput by a tenth.
  if (options.edgeListen === undefined) growHeapSlowly();
  const log = createLogger('broker', options.logLevel);
  const signalled = waitForSignal();
  const givingUp = new AbortController();
  void signalled.then((signal) => givingUp.abort(signal));
  const config = parseBrokerConfig({
    publicUrl: options.publicUrl,
    listen: options.listen,
    operator: options.operatorListen,
    operatorUrl: options.operatorUrl,
    tls: { certFile: options.tlsCert, keyFile: options.tlsKey },
    dataDir: options.data,
    databaseUrl: options.databaseUrl,
    auditKeyFile: options.auditKey,
    auditCheckpointFile: options.auditCheckpoint,
    auditRetentionDays: options.auditRetention,
    trustDomain: options.trustDomain,
    edge: options.edgePublic,
    tokenAudience: options.tokenAudience,
    operatorTokenFile: options.operatorToken,
    breakGlass: options.breakGlass,
    signingKeyAgeSeconds: options.signingKeyAge,
    signingKeyWaitSeconds: options.signingKeyWait,
    tokenSeconds: options.tokenLife,
    denyEnded: options.denyEnded,
    trustedProxies: options.trustedProxies?.split(',') ?? [],
    leaseSeconds: options.lease,
    heartbeatSeconds: options.heartbeat,
    restartGraceSeconds: options.restartGrace,
    codespacePresence: options.codespacePresence,
    githubSweepSeconds: options.githubSweep,
    githubMemberSeconds: options.githubMembers,
    githubEventTokenFile: options.githubEventToken,
    approvalWebhookKeys: options.approvalWebhookKeys,
    policyAuthors: parsePolicyAuthors(options),
  });
  const { approvalWebhookKeys: keys } = options;
  // Check this at startup, so that a missing mount is noticed before a key is needed.
  if (keys !== undefined && !statSync(keys, { throwIfNoEntry: false })?.isDirectory())
    throw new MeshpassError('config_invalid', `--approval-webhook-keys: ${keys} is not a directory.`);
  const activeState = createActiveState();
  const { publicUrl: issuer, tokenAudience: audience, tokenHeader: header } = config;
  // Any error, even an invalid flag, must close everything that has been opened so far. Otherwise, open watches would
  // keep the process alive.
  await using begun = new AsyncDisposableStack();
  const { data, signingKeySecret, auditCheckpointConfigmap, kubeconfig } = options;
  const signingKeys =
    signingKeySecret === undefined
      ? { storage: keyFileStorage(join(data, 'signing-key.pem')), close: () => {} }
      : await openKeySecret({ kubeconfig, ...signingKeySecret });
  begun.defer(signingKeys.close);
  const signer = await retryWhileUnavailable(() => openSigner(signingKeys.storage), {
    signal: givingUp.signal,
    onFailure: (err) => log.warn({ err }, 'cannot read the signing keys from their Secret yet'),
  });
  const edgeFlags = edgeFlagsOf(options);
  const github = askGithub(options);
  const pod = options.activeLabel;
  const http = pod && (await connectKubernetes(kubeconfig));
  begun.defer(() => http?.close());
  const onFailure = (err: unknown) => log.warn({ err }, 'failed to write the Pod label');
  const activeLabel = http && createActiveLabel({ http, namespace: pod.namespace, pod: pod.name, onFailure });
  begun.defer(() => activeLabel?.close());
  // If the container was restarted, the Pod may still have the active label from before the restart.
  activeLabel?.set(false);
  const checkpointMap =
    auditCheckpointConfigmap && (await openConfigMapSink({ kubeconfig, ...auditCheckpointConfigmap }));
  begun.defer(() => checkpointMap?.close());
  const mesh = await connectMesh(meshConfig(options), {
    tokens: () => ({ issuer, audience, header, jwks: signer.jwks }),
    log: createLogger('mesh', options.logLevel),
    activeState,
  });
  begun.defer(() => mesh.close());
  // Sign in at startup, so that a rejected key is logged before the first developer connects.
  github.app?.signIn().catch((err) => log.warn({ err }, 'failed to sign in as the GitHub App'));
  const broker = await serveBroker(config, {
    ...attestors(options, config, mesh, github.app, log),
    ...(github.watched && { github: github.watched }),
    losses: github.losses,
    authorize,
    authority: mesh.authority,
    revoker: mesh.revoker,
    relay: { ...mesh.relay, tokenHeader: header },
    mesh: mesh.state,
    kubernetesTokens: mesh.kubernetesTokens,
    warnings: () => [...mesh.state.problems(), ...[github.app?.refused()].filter((one) => one !== undefined)],
    onPolicyDecision: mesh.state.onDecision,
    signer,
    reviewEdgeToken: async (token) =>
      (await mesh.reviewToken(token, 'meshpass-broker')) === `system:serviceaccount:${options.edgeServiceAccount}`,
    operators: { keys: createIssuerKeys(ASKING), http: ASKING, reviewToken: mesh.reviewToken },
    policy: {
      mesh: mesh.policy,
      authorOf:
        config.policyAuthors &&
        createAuthorCheck(config.policyAuthors, { keys: createIssuerKeys(ASKING), clock: Date.now }),
    },
    log,
    ...(checkpointMap && { checkpointSinks: [checkpointMap.sink] }),
    activeState,
    signal: givingUp.signal,
  }).catch((thrown) => {
    if (!givingUp.signal.aborted) throw thrown;
  });
  // A signal arrived while the broker was on standby.
  if (!broker) return;
  let lost: MeshpassError | undefined;
  begun.defer(async () => {
    if (!lost) await broker.close();
  });
  activeLabel?.set(true);
  // This is deferred after the broker, so it runs before the broker closes. Otherwise, the Pod would keep the active
  // label until the next container starts.
  begun.defer(() => activeLabel?.leave());
  const edge = await edgeBeside(broker, edgeFlags, createLogger('edge', options.logLevel));
  begun.defer(() => edge?.close());
  lost = await Promise.race([broker.lost, signalled.then(() => undefined)]);
  if (!lost) return;
  // Another broker is active now, and it should not have to wait for the connections that this process still has open.
  setTimeout(() => process.exit(EXIT.unavailable), LAST_WORDS_MS).unref();
  throw lost;
}

function meshConfig(options: ServeOptions): Parameters<typeof connectMesh>[0] {
  return {
    accessFile: options.access,
    kubeconfig: options.kubeconfig,
    istiod: {
      address: options.istiod,
      serverName: options.istiodName,
      rootsFile: options.istiodRoots,
    },
    trustDomain: options.trustDomain,
    gitops: options.gitops,
    kubernetesAudience: options.kubernetesAudience,
    rootNamespace: options.rootNamespace,
    gateway: gatewayLocation(options),
  };
}

const ASKING = { fetch, timeoutMs: ISSUER_PATIENCE_MS, clock: Date.now };

/** Creates the clients that call GitHub's API for the broker. They share a rate limit. */
function askGithub(options: ServeOptions) {
  const api = { url: options.githubApi, ...ASKING };
  const rateLimiter = createRateLimiter(Date.now);
  const losses = createLosses(Date.now);
  const { githubApp: appId, githubAppKey, githubTokenFile } = options;
  if ((appId === undefined) !== (githubAppKey === undefined)) {
    throw new MeshpassError('usage', '--github-app and --github-app-key must be used together.');
  }
  const onAnswer = githubTokenFile === undefined ? rateLimiter.observe : undefined;
  const app =
    appId !== undefined && githubAppKey !== undefined
      ? createGithubApp({
          ...api,
          appId,
          privateKey: readPrivateFile(githubAppKey),
          losses,
          ...(onAnswer && { onAnswer }),
        })
      : undefined;
  const read = githubTokenFile
    ? createTokenFileReader(githubTokenFile, { ...api, onAnswer: rateLimiter.observe })
    : app?.request;
  return { app, losses, watched: read && { read, rateLimiter } };
}

function attestors(
  options: ServeOptions,
  config: BrokerConfig,
  mesh: ConnectedMesh,
  app: GithubApp | undefined,
  log: Log,
) {
  const confirming = app ? { app } : {};
  const presence = createPresenceCheck({
    mode: config.codespacePresence,
    broker: config.publicUrl,
    clock: Date.now,
    random: randomBytes,
    forwarding: resolveForwarding(options, log),
  });
  const { access } = mesh.state;
  const oidc = { keys: createIssuerKeys(ASKING), clock: Date.now, ...confirming };
  const codespaces = { api: { url: options.githubApi, ...ASKING }, presence, ...confirming };
  return {
    attest: createAttestor({ access, codespaces, oidc }),
    attestSignIn: createSignInVerifier({ access, oidc }),
    verifyLogout: createLogoutVerifier({ access, ...oidc }),
  };
}

/**
 * Returns the options for forwarding presence challenges to Codespaces. If the lab flag redirects GitHub tokens, it
 * logs a warning at the `fatal` level.
 */
export function resolveForwarding(
  { labOnlySendGithubTokensTo: address }: Pick<ServeOptions, 'labOnlySendGithubTokensTo'>,
  log: Pick<Log, 'fatal'>,
): ForwardingOptions {
  const timeoutMs = ISSUER_PATIENCE_MS;
  if (address === undefined) return { timeoutMs };
  log.fatal(
    { address: `${address.host}:${address.port}` },
    "LAB ONLY: Codespaces' GitHub tokens are sent to an address other than GitHub's",
  );
  return { timeoutMs, [labOnlyForwardingHost]: address };
}

/**
 * Returns the flags for the edge in this process, or undefined if no edge is configured.
 * @throws MeshpassError `usage` if the flags are incomplete
 */
function edgeFlagsOf({ edgeListen: listen, edgeTlsCert: tlsCert, edgeTlsKey: tlsKey, ...more }: ServeOptions) {
  if (!listen) return undefined;
  const { meshGateway: gateway, edgeOperatorListen: operatorListen, kubernetesApi } = more;
  if (tlsCert && tlsKey && gateway) return { listen, tlsCert, tlsKey, gateway, operatorListen, kubernetesApi };
  throw new MeshpassError('usage', '--edge-listen requires --edge-tls-cert, --edge-tls-key and --mesh-gateway.');
}

async function edgeBeside(
  broker: Broker,
  flags: ReturnType<typeof edgeFlagsOf>,
  log: Log,
): Promise<Pick<EdgeProcess, 'close'> | undefined> {
  if (!flags) return undefined;
  const directory = createSessionDirectory({ clock: Date.now, staleMs: OWN_SILENCE_MS });
  const unfollow = followFeed(
    (listener) => broker.feed.subscribe(listener, { control: true, draining: true }),
    directory,
  );
  const decisions = createDecisionQueue({ deliver: broker.reportEdgeDecisions, log });
  const edge = await runEdge({
    ...flags,
    directory,
    report: decisions.report,
    control: {
      renew: (leases) => broker.control.renew(leases, undefined),
      configuration: async ({ set, digest }) => {
        const content = broker.control.configuration(set, digest);
        if (!content) throw new MeshpassError('not_found', 'The broker does not announce this configuration.');
        return content;
      },
      draining: async (sessions) => broker.feed.draining(sessions),
    },
    log,
  });
  return {
    close: async () => {
      unfollow();
      await edge.close();
      await decisions.close();
    },
  };
}
