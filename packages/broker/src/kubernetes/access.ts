/**
 * Where the Kubernetes API is and as whom we speak to it: the Pod's own ServiceAccount, or a kubeconfig. Plain
 * kubeconfigs are read here, in a millisecond; @kubernetes/client-node, which takes most of a second to load, is asked
 * only where a credential plugin has to run.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileProblem, MeshpassError } from '@meshpass/identity';
import { parse } from 'yaml';
import { z } from 'zod';

export interface KubernetesAccess {
  /** Origin, `https://10.96.0.1:443`; a path prefix may follow. */
  readonly server: string;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
  };
  /** The Authorization header as it must be now; bound tokens are replaced on disk about hourly. */
  readonly authorization: () => Promise<string | undefined>;
}

const POD_FILES = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Kubelet replaces a projected token at 80 % of its life, so a minute of staleness is harmless. */
const TOKEN_REREAD_MS = 60_000;

/** Access from inside a Pod. @throws MeshpassError `config_invalid` outside of one */
export async function podAccess(env: Readonly<Record<string, string | undefined>>): Promise<KubernetesAccess> {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  if (!host) throw invalid('This process does not run in a Pod: give the path of a kubeconfig.');
  const ca = await readFile(`${POD_FILES}/ca.crt`).catch((cause) => {
    throw invalid('The Pod has no ServiceAccount volume: set automountServiceAccountToken.', cause);
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
        exec: z.unknown().optional(),
        'auth-provider': z.unknown().optional(),
      }),
    }),
  ),
});

/**
 * Access by the current context of a kubeconfig.
 * @throws MeshpassError `config_invalid`: unreadable, not HTTPS, or with TLS verification turned off
 */
export async function kubeconfigAccess(path: string): Promise<KubernetesAccess> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw invalid(`--kubeconfig: ${path} cannot be read: ${fileProblem(cause)}.`, cause);
  });
  const read = Kubeconfig.safeParse(parse(text));
  if (!read.success) throw invalid(`The kubeconfig ${path} is not usable: ${z.prettifyError(read.error)}`);
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
              `${near(path, file)}, named in the kubeconfig, cannot be read: ${fileProblem(cause)}.`,
              cause,
            );
          });
  const ca = await content(cluster['certificate-authority'], cluster['certificate-authority-data']);
  const cert = await content(user['client-certificate'], user['client-certificate-data']);
  const key = await content(user['client-key'], user['client-key-data']);
  const servername = cluster['tls-server-name'];
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(servername && { servername }) };
  const server = cluster.server.replace(/\/$/, '');
  if (user.exec !== undefined || user['auth-provider'] !== undefined)
    return { server, tls, authorization: plugin(path) };
  if (user.tokenFile !== undefined) return { server, tls, authorization: bearerFile(near(path, user.tokenFile)) };
  const header = user.token === undefined ? undefined : `Bearer ${user.token}`;
  return { server, tls, authorization: async () => header };
}

/** A credential plugin (`exec`) of a kubeconfig. */
function plugin(path: string): () => Promise<string | undefined> {
  return async () => {
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    config.loadFromFile(path);
    const options: { headers?: Record<string, string> } = {};
    await config.applyToHTTPSOptions(options);
    return options.headers?.Authorization;
  };
}

function bearerFile(path: string): () => Promise<string> {
  let header: Promise<string> | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (header && performance.now() - readAt < TOKEN_REREAD_MS) return header;
    readAt = performance.now();
    header = readFile(path, 'utf8').then((token) => `Bearer ${token.trim()}`);
    header.catch(() => {
      header = undefined;
    });
    return header;
  };
}

function named<T extends { readonly name: string }>(list: readonly T[], name: string, what: string, path: string): T {
  const found = list.find((one) => one.name === name);
  if (!found) throw invalid(`The kubeconfig ${path} names the ${what} ${name}, which it does not define.`);
  return found;
}

function near(path: string, file: string): string {
  return resolve(dirname(path), file);
}

function invalid(message: string, cause?: unknown): MeshpassError {
  return new MeshpassError('config_invalid', message, { cause });
}
