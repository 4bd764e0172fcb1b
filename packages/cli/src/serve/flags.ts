/**
 * Defines the flags of `meshpass serve`. Each of them has an environment variable, and they are explained in
 * docs/operating-broker.md.
 */

import { MeshpassError } from '@meshpass/identity';
import {
  address,
  choice,
  type OptionsOf,
  objectName,
  text,
  toggle,
  wholeNumber,
  withEnvironmentVariables,
} from '../command/flag.ts';
import {
  accessFile,
  auditKey,
  checkpointFlags,
  databaseUrl,
  gatewayFlags,
  logLevel,
  tokenAudience,
} from '../command/shared-flags.ts';
import { configFlag } from '../input/config-file.ts';

/** The flags that determine which CI jobs may plan and apply access files. */
const policyAuthorFlags = withEnvironmentVariables({
  policyRepository: wholeNumber('<id>', 'GitHub id of the repository whose jobs plan and apply access files', {
    defaultText: 'only operators',
  }),
  policyOwner: wholeNumber('<id>', "GitHub id of the repository's owner"),
  policyWorkflow: text(
    '<workflow>',
    'job_workflow_ref of jobs that apply: OWNER/REPOSITORY/.github/workflows/FILE@REF',
  ),
  policyEnvironment: text('<name>', 'GitHub environment of jobs that apply'),
  policyRef: text('<ref>', 'Git ref whose jobs apply', { default: 'refs/heads/main' }),
  policyIssuer: text('<url>', "issuer of the jobs' tokens", { default: 'https://token.actions.githubusercontent.com' }),
});
type PolicyAuthorFlags = OptionsOf<typeof policyAuthorFlags>;

/**
 * Converts the flags into the broker's configuration.
 * @returns the `policyAuthors` setting, or undefined if only operators may apply access files
 * @throws MeshpassError `config_invalid` if a flag requires another flag that is missing
 */
export function parsePolicyAuthors(flags: PolicyAuthorFlags) {
  const { policyRepository, policyOwner, policyWorkflow, policyEnvironment } = flags;
  if (policyRepository === undefined) {
    const alone = Object.entries({ owner: policyOwner, workflow: policyWorkflow, environment: policyEnvironment });
    const [given] = alone.find(([, value]) => value !== undefined) ?? [];
    if (given === undefined) return undefined;
    throw new MeshpassError(
      'config_invalid',
      `--policy-${given} has no effect without --policy-repository. Pass both.`,
    );
  }
  if (policyWorkflow === undefined)
    throw new MeshpassError(
      'config_invalid',
      '--policy-repository requires --policy-workflow, the only workflow whose jobs may apply: OWNER/REPOSITORY/.github/workflows/FILE@REF.',
    );
  return {
    issuer: flags.policyIssuer,
    repositoryId: policyRepository,
    ownerId: policyOwner,
    ref: flags.policyRef,
    workflow: policyWorkflow,
    environment: policyEnvironment,
  };
}

const api = {
  access: accessFile,
  publicUrl: text('<url>', 'public URL of the broker, called by agents and used as token issuer', { required: true }),
  listen: address('<host:port>', 'address of the TLS listener for the API', { default: '0.0.0.0:8443' }),
  tlsCert: text('<file>', 'certificate chain of the API, PEM', { required: true }),
  tlsKey: text('<file>', 'private key of the certificate, PEM', { required: true }),
  operatorListen: address('<host:port>', 'address for probes, metrics and operators; plain HTTP', {
    default: '127.0.0.1:9090',
  }),
  operatorUrl: text('<origin>', 'origin at which browsers reach it; enables the approvals page', {
    defaultText: 'no page',
  }),
  operatorToken: text('<file>', 'token that this listener accepts only with --break-glass', {
    env: 'MESHPASS_OPERATOR_TOKEN_FILE',
    defaultText: 'none',
  }),
  breakGlass: toggle(
    'accept the token from --operator-token, which identifies no person and allows nearly everything; for emergencies when no operator can sign in',
  ),
  trustedProxies: text('<cidr,...>', 'proxies whose X-Forwarded-For is trusted', { defaultText: 'none' }),
};

const state = {
  data: text('<dir>', 'directory of the embedded store and of generated keys', { required: true }),
  databaseUrl,
  signingKeySecret: objectName(
    '<namespace/name>',
    'Secret that stores the signing keys, under the key signing-key.pem',
    {
      defaultText: 'signing-key.pem in --data',
    },
  ),
  signingKeyAge: wholeNumber('<seconds>', 'rotate the signing key at this age; 0: never', { default: '2592000' }),
  signingKeyWait: wholeNumber('<seconds>', 'publish a new signing key this long before it signs', { default: '300' }),
  auditKey,
  ...checkpointFlags,
  auditRetention: wholeNumber('<days>', 'minimum age of audit rows that can be pruned; at least 30', { default: '90' }),
};

const sessions = {
  tokenLife: wholeNumber('<seconds>', 'lifetime of identity tokens and ID tokens', { default: '300' }),
  tokenAudience,
  lease: wholeNumber('<seconds>', 'end a session this many seconds after its last heartbeat', { default: '45' }),
  heartbeat: wholeNumber('<seconds>', 'time between heartbeats', { default: '15' }),
  restartGrace: wholeNumber('<seconds>', 'extension of leases after the broker restarts', { default: '60' }),
  denyEnded: choice(['always', 'revoked'], 'which ended sessions are also denied in the mesh', {
    value: '<which>',
    default: 'revoked',
  }),
};

const mesh = {
  kubeconfig: text('<file>', 'kubeconfig for the cluster', { defaultText: "the Pod's ServiceAccount" }),
  istiod: text('<host:port>', 'certificate authority of the mesh', { default: 'istiod.istio-system.svc:15012' }),
  istiodName: text('<name>', "DNS name in istiod's certificate", { default: 'istiod.istio-system.svc' }),
  istiodRoots: text('<file>', 'mesh root certificates, PEM', { defaultText: "istiod's ConfigMap" }),
  trustDomain: text('<name>', 'trust domain of the mesh', { default: 'cluster.local' }),
  rootNamespace: text('<name>', "Istio's root namespace", { default: 'istio-system' }),
  ...gatewayFlags,
  activeLabel: objectName(
    '<namespace/pod>',
    "keep the label meshpass.dev/active on the broker's own Pod true while this broker is active",
    { defaultText: 'none' },
  ),
  kubernetesAudience: text(
    '<audience>',
    'enable kubectl in workspaces whose grants have roles; audience of their tokens, which the API server must list in --api-audiences',
    { defaultText: 'workspaces get no API server tokens' },
  ),
  gitops: toggle('write only keys, revocations and ServiceAccounts; CI or GitOps applies the rest'),
};

const github = {
  githubApi: text('<url>', 'URL of the GitHub API', { default: 'https://api.github.com' }),
  githubApp: text('<id>', 'GitHub App that reads teams, members and Codespaces; requires --github-app-key'),
  githubAppKey: text('<file>', "the GitHub App's private key, PEM"),
  githubTokenFile: text('<file>', 'watch GitHub with this token instead of the App'),
  codespacePresence: choice(
    ['required', 'preferred', 'off'],
    'whether Codespaces must answer a presence challenge; preferred: unless port forwarding is unreachable',
    { value: '<mode>', default: 'required' },
  ),
  githubSweep: wholeNumber('<seconds>', 'minimum time between checks of all Codespaces', { default: '10' }),
  githubMembers: wholeNumber('<seconds>', 'minimum time between checks of teams and members', { default: '60' }),
  githubEventToken: text('<file>', 'token that GitHub presents when it streams its audit log', {
    env: 'MESHPASS_GITHUB_EVENT_TOKEN_FILE',
    defaultText: 'no stream is accepted',
  }),
  approvalWebhookKeys: text('<directory>', 'secrets of approval webhooks, one file per webhook', {
    defaultText: 'webhooks are neither sent nor accepted',
  }),
  ...policyAuthorFlags,
};

const edge = {
  edgePublic: address('<host:port>', 'address at which agents reach the edge', { required: true }),
  edgeServiceAccount: text('<namespace:name>', 'ServiceAccount of edges that may follow the broker', {
    default: 'meshpass-system:meshpass-edge',
  }),
  edgeListen: address(
    '<host:port>',
    'also run an edge here; requires --edge-tls-cert, --edge-tls-key and --mesh-gateway',
    { defaultText: 'no edge in this process' },
  ),
  edgeTlsCert: text('<file>', 'certificate chain of the edge, PEM'),
  edgeTlsKey: text('<file>', 'private key of the certificate, PEM'),
  meshGateway: address('<host:port>', 'the mesh gateway, the only address the edge dials'),
  kubernetesApi: address(
    '<host:port>',
    'with --edge-listen: the API server, for kubectl in workspaces whose grants have roles',
    { defaultText: 'the edge does not connect to it' },
  ),
  edgeOperatorListen: address('<host:port>', 'edge probes and metrics, plain HTTP', { defaultText: 'none' }),
};

const lab = {
  labOnlySendGithubTokensTo: address(
    '<host:port>',
    "only in a lab: connect to Codespaces' forwarded ports here instead of at GitHub; the listener receives their tokens",
    { isCommandLineOnly: true },
  ),
};

export const serveFlags = {
  ...withEnvironmentVariables({
    config: configFlag,
    ...api,
    ...state,
    ...sessions,
    ...mesh,
    ...github,
    ...edge,
    logLevel,
  }),
  ...lab,
};
export type ServeOptions = OptionsOf<typeof serveFlags>;
