/** The flags of `meshpass serve`. docs/operating-broker.md explains what each sets. */

import { address, choice, type OptionsOf, text, toggle, wholeNumber } from '../command/flag.ts';
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
import { policyAuthorFlags } from './policy-authors.ts';

const api = {
  access: accessFile,
  publicUrl: text('<url>', 'public URL of the broker: what agents call, and issuer of tokens', {
    env: 'MESHPASS_PUBLIC_URL',
    required: true,
  }),
  listen: address('<host:port>', 'address of the API, TLS', { env: 'MESHPASS_LISTEN', default: '0.0.0.0:8443' }),
  tlsCert: text('<file>', 'certificate chain of the API, PEM', { env: 'MESHPASS_TLS_CERT', required: true }),
  tlsKey: text('<file>', 'key of the certificate, PEM', { env: 'MESHPASS_TLS_KEY', required: true }),
  operatorListen: address('<host:port>', 'address for probes, metrics and operators; plain HTTP', {
    env: 'MESHPASS_OPERATOR_LISTEN',
    default: '127.0.0.1:9090',
  }),
  operatorUrl: text('<origin>', "where people's browsers reach it: with this, it has the page for approvals", {
    env: 'MESHPASS_OPERATOR_URL',
    defaultText: 'no page',
  }),
  operatorToken: text('<file>', 'token that is accepted there with --break-glass, and with nothing else', {
    env: 'MESHPASS_OPERATOR_TOKEN_FILE',
    defaultText: 'none',
  }),
  breakGlass: toggle(
    'accept the token of --operator-token, which has no name and may do nearly everything: for the day on which no operator can sign in',
    { env: 'MESHPASS_BREAK_GLASS' },
  ),
  trustedProxies: text('<cidr,...>', 'proxies whose X-Forwarded-For is trusted', {
    env: 'MESHPASS_TRUSTED_PROXIES',
    defaultText: 'none',
  }),
};

const state = {
  data: text('<dir>', 'directory of the embedded store and of generated keys', {
    env: 'MESHPASS_DATA',
    required: true,
  }),
  databaseUrl,
  signingKey: text('<file>', 'RSA keys that sign tokens, PEM; never written', {
    env: 'MESHPASS_SIGNING_KEY',
    defaultText: 'signing-key.pem in --data, generated and rotated',
  }),
  signingKeyAge: wholeNumber('<seconds>', 'rotate a generated signing key at this age; 0: never', {
    env: 'MESHPASS_SIGNING_KEY_AGE',
    default: '2592000',
  }),
  signingKeyWait: wholeNumber('<seconds>', 'publish a new signing key this long before it signs', {
    env: 'MESHPASS_SIGNING_KEY_WAIT',
    default: '300',
  }),
  auditKey,
  ...checkpointFlags,
  auditRetention: wholeNumber('<days>', 'age below which no audit row can be pruned; at least 30', {
    env: 'MESHPASS_AUDIT_RETENTION',
    default: '90',
  }),
};

const sessions = {
  tokenLife: wholeNumber('<seconds>', 'lifetime of identity tokens and ID tokens', {
    env: 'MESHPASS_TOKEN_LIFE',
    default: '300',
  }),
  tokenAudience,
  lease: wholeNumber('<seconds>', 'end a session this long after its last heartbeat', {
    env: 'MESHPASS_LEASE',
    default: '45',
  }),
  heartbeat: wholeNumber('<seconds>', 'time between heartbeats', { env: 'MESHPASS_HEARTBEAT', default: '15' }),
  restartGrace: wholeNumber('<seconds>', 'added to leases after the broker restarts', {
    env: 'MESHPASS_RESTART_GRACE',
    default: '60',
  }),
  denyEnded: choice(['always', 'revoked'], 'which ended sessions are also denied in the mesh', {
    value: '<which>',
    env: 'MESHPASS_DENY_ENDED',
    default: 'revoked',
  }),
};

const mesh = {
  kubeconfig: text('<file>', 'kubeconfig of the cluster', {
    env: 'MESHPASS_KUBECONFIG',
    defaultText: "the Pod's ServiceAccount",
  }),
  istiod: text('<host:port>', 'certificate authority of the mesh', {
    env: 'MESHPASS_ISTIOD',
    default: 'istiod.istio-system.svc:15012',
  }),
  istiodName: text('<name>', "DNS name in istiod's certificate", {
    env: 'MESHPASS_ISTIOD_NAME',
    default: 'istiod.istio-system.svc',
  }),
  istiodRoots: text('<file>', 'root certificates of the mesh, PEM', {
    env: 'MESHPASS_ISTIOD_ROOTS',
    defaultText: "istiod's ConfigMap",
  }),
  trustDomain: text('<name>', 'trust domain of the mesh', { env: 'MESHPASS_TRUST_DOMAIN', default: 'cluster.local' }),
  rootNamespace: text('<name>', "Istio's root namespace", {
    env: 'MESHPASS_ROOT_NAMESPACE',
    default: 'istio-system',
  }),
  ...gatewayFlags,
  activeLabel: text(
    '<namespace/pod>',
    'keep the label meshpass.dev/active of this Pod, its own, true while it is the active broker',
    {
      env: 'MESHPASS_ACTIVE_LABEL',
      defaultText: 'none',
    },
  ),
  kubernetesAudience: text(
    '<audience>',
    'let workspaces whose grants have roles use kubectl: the audience of tokens for the API server, as its --api-audiences says',
    { env: 'MESHPASS_KUBERNETES_AUDIENCE', defaultText: 'no workspace gets a token for the API server' },
  ),
  gitops: toggle('write only keys, revocations and ServiceAccounts; CI or GitOps applies the rest', {
    env: 'MESHPASS_GITOPS',
  }),
};

const github = {
  githubApi: text('<url>', 'GitHub API', { env: 'MESHPASS_GITHUB_API', default: 'https://api.github.com' }),
  githubApp: text('<id>', 'GitHub App that reads teams, members and Codespaces; needs --github-app-key', {
    env: 'MESHPASS_GITHUB_APP',
  }),
  githubAppKey: text('<file>', "the GitHub App's private key, PEM", { env: 'MESHPASS_GITHUB_APP_KEY' }),
  githubTokenFile: text('<file>', 'watch GitHub with this token instead of the App', {
    env: 'MESHPASS_GITHUB_TOKEN_FILE',
  }),
  codespacePresence: choice(
    ['required', 'preferred', 'off'],
    'whether Codespaces must answer a challenge from within; preferred: unless port forwarding cannot be reached',
    { value: '<mode>', env: 'MESHPASS_CODESPACE_PRESENCE', default: 'required' },
  ),
  githubSweep: wholeNumber('<seconds>', 'minimum time between two checks of all Codespaces', {
    env: 'MESHPASS_GITHUB_SWEEP',
    default: '10',
  }),
  githubMembers: wholeNumber('<seconds>', 'minimum time between two checks of teams and members', {
    env: 'MESHPASS_GITHUB_MEMBERS',
    default: '60',
  }),
  githubEventToken: text('<file>', 'token that GitHub presents when it streams its audit log', {
    env: 'MESHPASS_GITHUB_EVENT_TOKEN_FILE',
    defaultText: 'no stream is accepted',
  }),
  approvalWebhookKeys: text('<directory>', 'secrets of webhooks for approvals, one file for each', {
    env: 'MESHPASS_APPROVAL_WEBHOOK_KEYS',
    defaultText: 'no webhook is sent or taken',
  }),
  ...policyAuthorFlags,
};

const edge = {
  edgePublic: address('<host:port>', 'address of the edge, as agents reach it', {
    env: 'MESHPASS_EDGE_PUBLIC',
    required: true,
  }),
  edgeServiceAccount: text('<namespace:name>', 'ServiceAccount of edges that may follow the broker', {
    env: 'MESHPASS_EDGE_SERVICE_ACCOUNT',
    default: 'meshpass-system:meshpass-edge',
  }),
  edgeListen: address(
    '<host:port>',
    'also run an edge here; needs --edge-tls-cert, --edge-tls-key and --mesh-gateway',
    {
      env: 'MESHPASS_EDGE_LISTEN',
      defaultText: 'no edge in this process',
    },
  ),
  edgeTlsCert: text('<file>', 'certificate chain of the edge, PEM', { env: 'MESHPASS_EDGE_TLS_CERT' }),
  edgeTlsKey: text('<file>', 'key of the certificate, PEM', { env: 'MESHPASS_EDGE_TLS_KEY' }),
  meshGateway: address('<host:port>', 'the mesh gateway, the only address the edge dials', {
    env: 'MESHPASS_MESH_GATEWAY',
  }),
  kubernetesApi: address(
    '<host:port>',
    'with --edge-listen: the API server, for kubectl in workspaces whose grants have roles',
    { env: 'MESHPASS_KUBERNETES_API', defaultText: 'nobody reaches it through this edge' },
  ),
  edgeOperatorListen: address('<host:port>', 'probes and metrics of the edge, plain HTTP', {
    env: 'MESHPASS_EDGE_OPERATOR_LISTEN',
    defaultText: 'none',
  }),
};

const lab = {
  labOnlySendGithubTokensTo: address(
    '<host:port>',
    "only in a lab: look for Codespaces' forwarded ports here, not at GitHub; whoever listens gets their tokens",
    { isCommandLineOnly: true },
  ),
};

export const serveFlags = {
  config: configFlag,
  ...api,
  ...state,
  ...sessions,
  ...mesh,
  ...github,
  ...edge,
  logLevel,
  ...lab,
};
export type ServeOptions = OptionsOf<typeof serveFlags>;
