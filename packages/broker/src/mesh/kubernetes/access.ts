/**
 * Determines the address of the Kubernetes API and the credentials to use for it. They come from the Pod's
 * ServiceAccount, or from a kubeconfig with a certificate, a token or a credential plugin
 * (docs/decisions/0046-written-by-hand.md).
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { parse } from 'yaml';
import { z } from 'zod';

export interface KubernetesEndpoint {
  /** The origin of the API server, such as `https://10.96.0.1:443`. It may be followed by a path prefix. */
  readonly server: string;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
  };
  /** Returns the current Authorization header. Kubernetes replaces bound tokens on disk about once an hour. */
  readonly authorization: () => Promise<string | undefined>;
}

const POD_FILES = '/var/run/secrets/kubernetes.io/serviceaccount';
/**
 * The maximum age of a token in memory. The kubelet replaces a projected token at 80 % of its lifetime, so using an old
 * one for another minute is harmless.
 */
const TOKEN_REREAD_MS = 60_000;
/** The timeout for a credential plugin. The plugin may be waiting for a user to sign in with a browser. */
const PLUGIN_TIMEOUT_MS = 180_000;
const MAX_PLUGIN_OUTPUT = 1024 * 1024;
const MAX_PLUGIN_ERROR = 500;

/**
 * Returns an endpoint that uses the ServiceAccount of the Pod.
 * @throws MeshpassError `config_invalid` if the process is not running in a Pod
 */
export async function podAccess(env: Readonly<Record<string, string | undefined>>): Promise<KubernetesEndpoint> {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  if (!host) throw invalid('This process is not running in a Pod. Specify the path to a kubeconfig.');
  const ca = await readFile(`${POD_FILES}/ca.crt`).catch((cause) => {
    throw invalid('The Pod has no ServiceAccount volume. Set automountServiceAccountToken.', cause);
  });
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  return { server, tls: { ca }, authorization: bearerFile(`${POD_FILES}/token`) };
}

const Kubeconfig = z.object({
  'current-context': z.string(),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: z.string() }) })),
  clusters: z.array(
    z.object({
      name: z.string(),
      cluster: z.object({
        server: z.url({ protocol: /^https$/ }),
        'certificate-authority': z.string().optional(),
        'certificate-authority-data': z.base64().optional(),
        'tls-server-name': z.string().optional(),
        'insecure-skip-tls-verify': z.literal(false).optional(),
      }),
    }),
  ),
  users: z.array(
    z.object({
      name: z.string(),
      user: z.object({
        token: z.string().optional(),
        tokenFile: z.string().optional(),
        'client-certificate': z.string().optional(),
        'client-certificate-data': z.base64().optional(),
        'client-key': z.string().optional(),
        'client-key-data': z.base64().optional(),
        exec: z
          .object({
            apiVersion: z.enum(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']),
            command: z.string().min(1),
            args: z.array(z.string()).nullish(),
            env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
            provideClusterInfo: z.boolean().optional(),
          })
          .optional(),
        'auth-provider': z.unknown().optional(),
      }),
    }),
  ),
});

type Kubeconfig = z.infer<typeof Kubeconfig>;
type Cluster = Kubeconfig['clusters'][number]['cluster'];
type Plugin = NonNullable<Kubeconfig['users'][number]['user']['exec']>;

/** The output of a credential plugin (client.authentication.k8s.io). */
const ExecCredential = z.object({
  kind: z.literal('ExecCredential'),
  status: z.object({ token: z.string().min(1), expirationTimestamp: z.iso.datetime({ offset: true }).optional() }),
});

/**
 * Returns an endpoint that uses the current context of a kubeconfig.
 * @throws MeshpassError `config_invalid` if the file cannot be read, does not use HTTPS, disables TLS verification or
 *   contains an `auth-provider`
 */
export async function kubeconfigAccess(path: string): Promise<KubernetesEndpoint> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw invalid(`--kubeconfig: cannot read ${path}: ${describeFileError(cause)}.`, cause);
  });
  const read = Kubeconfig.safeParse(parse(text));
  if (!read.success) throw invalid(`The kubeconfig ${path} is invalid: ${z.prettifyError(read.error)}`);
  const config = read.data;
  const context = named(config.contexts, config['current-context'], 'context', path).context;
  const cluster = named(config.clusters, context.cluster, 'cluster', path).cluster;
  const user = named(config.users, context.user, 'user', path).user;
  const content = async (file: string | undefined, data: string | undefined): Promise<Buffer | undefined> =>
    data !== undefined
      ? Buffer.from(data, 'base64')
      : file === undefined
        ? undefined
        : await readFile(near(path, file)).catch((cause) => {
            throw invalid(
              `Cannot read ${near(path, file)}, which the kubeconfig references: ${describeFileError(cause)}.`,
              cause,
            );
          });
  const ca = await content(cluster['certificate-authority'], cluster['certificate-authority-data']);
  const cert = await content(user['client-certificate'], user['client-certificate-data']);
  const key = await content(user['client-key'], user['client-key-data']);
  const servername = cluster['tls-server-name'];
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(servername && { servername }) };
  const server = cluster.server.replace(/\/$/, '');
  if (user['auth-provider'] !== undefined)
    throw invalid(
      `The kubeconfig ${path} uses an auth-provider, which kubectl 1.26 removed. Use the provider's credential plugin (exec).`,
    );
  if (user.exec !== undefined) return { server, tls, authorization: pluginHeader(user.exec, path, cluster, ca) };
  if (user.tokenFile !== undefined) return { server, tls, authorization: bearerFile(near(path, user.tokenFile)) };
  const header = user.token === undefined ? undefined : `Bearer ${user.token}`;
  return { server, tls, authorization: async () => header };
}

/** Returns the Authorization header from a credential plugin, which is run again when its token has expired. */
function pluginHeader(
  { apiVersion, command, args, env, provideClusterInfo }: Plugin,
  path: string,
  cluster: Cluster,
  ca: Buffer | undefined,
): () => Promise<string> {
  const info = {
    server: cluster.server,
    ...(cluster['tls-server-name'] && { 'tls-server-name': cluster['tls-server-name'] }),
    ...(ca && { 'certificate-authority-data': ca.toString('base64') }),
  };
  const spec = { interactive: false, ...(provideClusterInfo && { cluster: info }) };
  const told = { KUBERNETES_EXEC_INFO: JSON.stringify({ apiVersion, kind: 'ExecCredential', spec }) };
  const options = {
    env: { ...process.env, ...Object.fromEntries((env ?? []).map(({ name, value }) => [name, value])), ...told },
    timeout: PLUGIN_TIMEOUT_MS,
    // A plugin could ignore SIGTERM and would then block every call.
    killSignal: 'SIGKILL' as const,
    maxBuffer: MAX_PLUGIN_OUTPUT,
  };
  const program = command.includes('/') ? near(path, command) : command;
  return untilExpired(async () => {
    const { stdout } = await promisify(execFile)(program, args ?? [], options).catch((cause) => {
      const why = String(cause.stderr ?? '').trim() || describeFileError(cause);
      // The cause is dropped because it contains the plugin's arguments and output, which may include secrets.
      throw invalid(`The credential plugin ${command} in ${path} failed: ${why.slice(0, MAX_PLUGIN_ERROR)}`);
    });
    try {
      const { token, expirationTimestamp: end } = ExecCredential.parse(JSON.parse(stdout)).status;
      return { token, forMs: end === undefined ? TOKEN_REREAD_MS : Date.parse(end) - Date.now() };
    } catch {
      // The cause is dropped because the plugin's output contains a secret.
      throw invalid(`The credential plugin ${command} in ${path} did not print an ExecCredential with a token.`);
    }
  });
}

function bearerFile(path: string): () => Promise<string> {
  return untilExpired(async () => ({ token: (await readFile(path, 'utf8')).trim(), forMs: TOKEN_REREAD_MS }));
}

/** Caches a token for `forMs` milliseconds and then reads it again. Concurrent callers share a single read. */
function untilExpired(read: () => Promise<{ readonly token: string; readonly forMs: number }>): () => Promise<string> {
  let header: Promise<string> | undefined;
  let expiresAt = Number.POSITIVE_INFINITY;
  return () => {
    if (header && performance.now() < expiresAt) return header;
    expiresAt = Number.POSITIVE_INFINITY;
    header = read().then(({ token, forMs }) => {
      expiresAt = performance.now() + forMs;
      return `Bearer ${token}`;
    });
    header.catch(() => {
      header = undefined;
    });
    return header;
  };
}

function named<T extends { readonly name: string }>(list: readonly T[], name: string, what: string, path: string): T {
  const found = list.find((one) => one.name === name);
  if (!found) throw invalid(`The kubeconfig ${path} references the ${what} ${name}, which it does not define.`);
  return found;
}

function near(path: string, file: string): string {
  return resolve(dirname(path), file);
}

function invalid(message: string, cause?: unknown): MeshpassError {
  return new MeshpassError('config_invalid', message, { cause });
}
