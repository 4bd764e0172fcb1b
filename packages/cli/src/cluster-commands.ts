/** `meshpass serve` and `meshpass edge`: what runs in the cluster, with the flags that the two share. */
import { type Command, Option } from 'commander';
import { checkpointFlags } from './accept-restore-command.ts';
import { flag, required } from './command/flags.ts';

export function clusterCommands(program: Command): void {
  const serve = program
    .command('serve')
    .description('run the broker, and the edge in the same process where --edge-listen is given');
  for (const option of [
    required('--access <file>', 'the access file', 'MESHPASS_ACCESS'),
    required('--public-url <url>', 'origin that agents use; issuer of tokens', 'MESHPASS_PUBLIC_URL'),
    flag('--listen <host:port>', 'address of the API', 'MESHPASS_LISTEN').default('0.0.0.0:8443'),
    required('--tls-cert <file>', 'certificate chain, PEM', 'MESHPASS_TLS_CERT'),
    required('--tls-key <file>', 'its key, PEM', 'MESHPASS_TLS_KEY'),
    flag('--operator-listen <host:port>', 'probes, metrics, operators; plain HTTP', 'MESHPASS_OPERATOR_LISTEN').default(
      '127.0.0.1:9090',
    ),
    flag('--operator-token <file>', 'token for all but probes and metrics there', 'MESHPASS_OPERATOR_TOKEN_FILE'),
    required('--data <dir>', 'embedded store and signing key', 'MESHPASS_DATA'),
    flag('--database-url <url>', 'PostgreSQL in place of the embedded store', 'DATABASE_URL'),
    flag('--signing-key <file>', 'RSA keys that sign tokens, PEM; never changed by us', 'MESHPASS_SIGNING_KEY'),
    flag('--audit-key <file>', 'Ed25519 keys that sign the audit log, PEM', 'MESHPASS_AUDIT_KEY'),
    ...checkpointFlags(),
    flag('--audit-retention <days>', 'no row younger can be pruned, 30 at least', 'MESHPASS_AUDIT_RETENTION').default(
      '90',
    ),
    flag('--signing-key-age <seconds>', 'change our own after so long; 0: by hand', 'MESHPASS_SIGNING_KEY_AGE').default(
      '2592000',
    ),
    flag('--signing-key-wait <seconds>', 'a new one is published so long first', 'MESHPASS_SIGNING_KEY_WAIT').default(
      '300',
    ),
    flag('--token-life <seconds>', 'of identity tokens and ID tokens', 'MESHPASS_TOKEN_LIFE').default('300'),
    flag('--token-audience <name>', 'audience of identity tokens', 'MESHPASS_TOKEN_AUDIENCE').default('meshpass'),
    flag('--lease <seconds>', 'a session lapses this long after its last heartbeat', 'MESHPASS_LEASE').default('45'),
    flag('--heartbeat <seconds>', 'time between heartbeats', 'MESHPASS_HEARTBEAT').default('15'),
    flag(
      '--restart-grace <seconds>',
      'added to leases after a restart of the broker',
      'MESHPASS_RESTART_GRACE',
    ).default('60'),
    flag('--deny-ended <which>', 'ends of access that are denied in the mesh, too', 'MESHPASS_DENY_ENDED')
      .choices(['always', 'revoked'])
      .default('revoked'),
    flag('--trusted-proxies <cidr,...>', 'whose X-Forwarded-For is believed', 'MESHPASS_TRUSTED_PROXIES'),
    flag('--kubeconfig <file>', 'outside of a Pod', 'MESHPASS_KUBECONFIG'),
    flag('--istiod <host:port>', 'the certificate authority', 'MESHPASS_ISTIOD').default(
      'istiod.istio-system.svc:15012',
    ),
    flag('--istiod-name <name>', "name in istiod's certificate", 'MESHPASS_ISTIOD_NAME').default(
      'istiod.istio-system.svc',
    ),
    flag('--istiod-roots <file>', 'roots of the mesh, instead of the ConfigMap', 'MESHPASS_ISTIOD_ROOTS'),
    flag('--trust-domain <name>', 'trust domain of the mesh', 'MESHPASS_TRUST_DOMAIN').default('cluster.local'),
    flag('--root-namespace <name>', "Istio's root namespace", 'MESHPASS_ROOT_NAMESPACE').default('istio-system'),
    flag('--gateway-namespace <name>', 'where the mesh gateway runs', 'MESHPASS_GATEWAY_NAMESPACE').default(
      'meshpass-system',
    ),
    flag('--gateway-label <key=value>', 'label of its pods', 'MESHPASS_GATEWAY_LABEL').default(
      'istio=meshpass-gateway',
    ),
    flag('--gateway-port <port>', 'its AUTO_PASSTHROUGH port', 'MESHPASS_GATEWAY_PORT').default('15443'),
    flag('--github-api <url>', 'GitHub API', 'MESHPASS_GITHUB_API').default('https://api.github.com'),
    flag('--github-app <id>', 'GitHub App that reads teams', 'MESHPASS_GITHUB_APP'),
    flag('--github-app-key <file>', 'its private key, PEM', 'MESHPASS_GITHUB_APP_KEY'),
    flag('--github-token-file <file>', 'watch GitHub with this token, not as the App', 'MESHPASS_GITHUB_TOKEN_FILE'),
    flag(
      '--codespace-presence <mode>',
      'Codespaces must answer from within: always; unless port forwarding cannot be reached; never',
      'MESHPASS_CODESPACE_PRESENCE',
    )
      .choices(['required', 'preferred', 'off'])
      .default('required'),
    flag('--github-sweep <seconds>', 'least time between looks at Codespaces', 'MESHPASS_GITHUB_SWEEP').default('10'),
    flag('--github-members <seconds>', 'least time between looks at teams', 'MESHPASS_GITHUB_MEMBERS').default('60'),
    flag(
      '--github-event-token <file>',
      "token with which GitHub's audit log is streamed to us",
      'MESHPASS_GITHUB_EVENT_TOKEN_FILE',
    ),
    flag(
      '--gitops',
      'others apply what is compiled: write only keys, revocations and ServiceAccounts',
      'MESHPASS_GITOPS',
    ),
    flag(
      '--policy-repository <id>',
      'its jobs plan and apply access files; needs --policy-workflow',
      'MESHPASS_POLICY_REPOSITORY',
    ),
    flag('--policy-owner <id>', 'id of its owner', 'MESHPASS_POLICY_OWNER'),
    flag(
      '--policy-workflow <workflow>',
      'job_workflow_ref of jobs that apply: OWNER/REPOSITORY/.github/workflows/FILE@REF',
      'MESHPASS_POLICY_WORKFLOW',
    ),
    flag('--policy-environment <name>', 'environment of jobs that apply', 'MESHPASS_POLICY_ENVIRONMENT'),
    flag('--policy-ref <ref>', 'the ref whose jobs apply', 'MESHPASS_POLICY_REF').default('refs/heads/main'),
    flag('--policy-issuer <url>', 'issuer of their tokens', 'MESHPASS_POLICY_ISSUER').default(
      'https://token.actions.githubusercontent.com',
    ),
    required('--edge-public <host:port>', 'where agents find the edge', 'MESHPASS_EDGE_PUBLIC'),
    flag('--edge-listen <host:port>', 'run the edge here', 'MESHPASS_EDGE_LISTEN'),
    flag('--edge-service-account <ns:name>', 'who may follow the feed', 'MESHPASS_EDGE_SERVICE_ACCOUNT').default(
      'meshpass-system:meshpass-edge',
    ),
    ...edgeFlags('--edge-'),
    flag('--log-level <level>', 'debug, info, warn or error', 'MESHPASS_LOG_LEVEL').default('info'),
    // No environment variable: it must be seen on the command line.
    new Option(
      '--lab-only-send-github-tokens-to <host:port>',
      'only in a lab: reach forwarded ports of Codespaces here, not at GitHub; whoever listens gets their tokens',
    ),
  ])
    serve.addOption(option);
  serve.action(async (options) => (await import('./commands/serve.ts')).serve(options));

  const edge = program.command('edge').description('run the edge alone, fed by a broker');
  for (const option of [
    flag('--listen <host:port>', 'where agents connect', 'MESHPASS_EDGE_LISTEN').default('0.0.0.0:443'),
    required('--broker <url,...>', 'URL of the broker; of several, all', 'MESHPASS_BROKER'),
    required('--broker-token <file>', 'ServiceAccount token, audience meshpass-broker', 'MESHPASS_BROKER_TOKEN_FILE'),
    flag('--broker-ca <file>', "CA of the broker's certificate, PEM", 'MESHPASS_BROKER_CA'),
    flag(
      '--stale <seconds>',
      'silence of the broker after which everything is refused and cut; until then no end of a session is heard either',
      'MESHPASS_EDGE_STALE',
    ).default('600'),
    ...edgeFlags('--'),
    flag('--log-level <level>', 'debug, info, warn or error', 'MESHPASS_LOG_LEVEL').default('info'),
  ])
    edge.addOption(option);
  edge.action(async (options) => (await import('./commands/edge.ts')).edge(options));
}

/** The same settings for the edge alone and within `serve`. */
function edgeFlags(prefix: '--' | '--edge-'): Option[] {
  const operator = prefix === '--' ? '--operator-listen' : '--edge-operator-listen';
  return [
    flag(`${prefix}tls-cert <file>`, 'certificate chain of the edge, PEM', 'MESHPASS_EDGE_TLS_CERT'),
    flag(`${prefix}tls-key <file>`, 'its key, PEM', 'MESHPASS_EDGE_TLS_KEY'),
    flag('--mesh-gateway <host:port>', 'the mesh gateway, the only thing the edge dials', 'MESHPASS_MESH_GATEWAY'),
    flag(`${operator} <host:port>`, 'probes and metrics of the edge, plain HTTP', 'MESHPASS_EDGE_OPERATOR_LISTEN'),
  ];
}
