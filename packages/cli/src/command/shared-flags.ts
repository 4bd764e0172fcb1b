/**
 * Defines the flags that more than one command accepts. They have the same name, meaning and environment variable in
 * every command.
 */
import { choice, label, type OptionsOf, objectName, text, wholeNumber, withEnvironmentVariables } from './flag.ts';

export const output = choice(['text', 'json'], 'output format', { value: '<format>', default: 'text' });

const caFile = text('<file>', 'CA certificates for the broker and edge, PEM', {
  env: 'MESHPASS_CA_FILE',
  defaultText: 'the system CAs',
});

export const broker = text('<url>', 'public URL of the broker, https://...', { env: 'MESHPASS_BROKER' });

export const OPERATOR_ORIGIN = 'http://127.0.0.1:9090';
export const TOKEN_VARIABLE = 'MESHPASS_OPERATOR_TOKEN';
export const STATE_ENV = {
  MESHPASS_STATE_DIR: 'directory for operator sessions, instead of meshpass in XDG_STATE_HOME or ~/.local/state',
};
export const TOKEN_ENV = {
  [TOKEN_VARIABLE]: 'the operator token itself, instead of a file; accepted only if break-glass is on',
  ...STATE_ENV,
};

const operatorToken = text(
  '<file>',
  'file with the operator token, instead of the meshpass login session; accepted only if break-glass is on',
  {
    env: 'MESHPASS_OPERATOR_TOKEN_FILE',
    defaultText: `${TOKEN_VARIABLE}, or else the session`,
  },
);

/** The flags that select a broker's operator listener and the operator's credentials. */
export const operatorFlags = withEnvironmentVariables({
  operator: text('<url>', "origin of the broker's operator listener, for example through kubectl port-forward", {
    default: OPERATOR_ORIGIN,
  }),
  operatorToken,
  caFile,
});

/** The flags for the broker and for the proof of identity that a developer's workspace sends to it. */
export const proofFlags = withEnvironmentVariables({
  broker,
  caFile,
  proofFile: text('<file>', 'file with an OIDC ID token', { defaultText: 'detected in the workspace' }),
  audience: text('<name>', 'audience of the ID token, if the agent requests it itself', { defaultText: 'meshpass' }),
});

export const presencePort = wholeNumber('<port>', "port that answers the broker's presence challenges", {
  env: 'MESHPASS_PRESENCE_PORT',
  defaultText: 'any free port',
});

export const AGENT_ENV = { MESHPASS_RUNTIME_DIR: "directory of the agent's socket and log" };
export const CLUSTER_DOMAIN_ENV = {
  MESHPASS_CLUSTER_DOMAIN: "the cluster's DNS domain, if it is not cluster.local",
};
export const HOSTS_ENV = { MESHPASS_HOSTS_FILE: 'hosts file to write, instead of /etc/hosts' };

export const accessFile = text('<file>', 'the access file', { env: 'MESHPASS_ACCESS', required: true });
export const kubeconfig = text('<file>', 'kubeconfig for a live cluster to read', { env: 'MESHPASS_KUBECONFIG' });
export const tokenAudience = text('<name>', 'audience of identity tokens', {
  env: 'MESHPASS_TOKEN_AUDIENCE',
  default: 'meshpass',
});

/** The namespace to assume for manifests that Helm or kustomize rendered without one. */
export const namespace = text('<name>', 'namespace of manifests without one, as `helm template` writes them', {
  defaultText: 'default',
});

/** The flags that locate the mesh gateway. */
export const gatewayFlags = withEnvironmentVariables({
  gatewayNamespace: text('<name>', 'namespace of the mesh gateway', { default: 'meshpass-system' }),
  gatewayLabel: label('<key=value>', "label of the mesh gateway's pods", { default: 'istio=meshpass-gateway' }),
  gatewayPort: wholeNumber('<port>', 'AUTO_PASSTHROUGH port of the mesh gateway', { default: '15443' }),
});

/** Returns the location of the mesh gateway that the flags specify. */
export function gatewayLocation(flags: OptionsOf<typeof gatewayFlags>) {
  return { namespace: flags.gatewayNamespace, labels: flags.gatewayLabel, port: flags.gatewayPort };
}

/** The flags that define where to keep the latest audit log checkpoint, in addition to the store. */
export const checkpointFlags = withEnvironmentVariables({
  auditCheckpoint: text('<file>', 'latest audit log checkpoint, shared by all brokers that use the same database', {
    defaultText: 'audit-checkpoint in --data',
  }),
  auditCheckpointConfigmap: objectName('<namespace/name>', 'also store the latest checkpoint in this ConfigMap'),
});

export const auditKey = text('<file>', 'Ed25519 keys that sign the audit log, PEM', {
  env: 'MESHPASS_AUDIT_KEY',
  defaultText: 'audit-key.pem in --data',
});

export const databaseUrl = text('<url>', 'PostgreSQL database, instead of the embedded store', {
  env: 'DATABASE_URL',
  isSecret: true,
});

export const logLevel = text('<level>', 'debug, info, warn or error', { env: 'MESHPASS_LOG_LEVEL', default: 'info' });
