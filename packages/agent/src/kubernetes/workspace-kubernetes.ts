/** Sets up kubectl in the workspace. The agent provides a kubeconfig, and the tokens that kubectl requests from it. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { KUBERNETES_API, MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { KubernetesAccess, KubernetesTokenResponse } from '@meshpass/identity/kubernetes';
import { writePrivateFile } from '../control/own-files.ts';
import type { KubernetesStatus } from '../control/status.ts';
import type { BrokerClient } from '../session/broker-client.ts';
import type { Credentials } from '../session/enrol.ts';
import { type KubernetesGrant, kubernetesGrants } from './addresses.ts';

export interface WorkspaceKubernetesOptions {
  readonly client: Pick<BrokerClient, 'call' | 'brokerNow'>;
  readonly credentials: () => Credentials;
  readonly runtimeDirectory: string;
  /** The command that starts `meshpass`. */
  readonly command: readonly string[];
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

export interface KubernetesCredential {
  readonly token: string;
  /** When kubectl should request the next token, in RFC 3339 format. */
  readonly expirationTimestamp: string;
}

/**
 * The minimum remaining lifetime of a token that may still be returned, in seconds. `EARLIER` is how many seconds
 * before the expiry kubectl should request the next token.
 */
const LEAST_LEFT = 120;
const EARLIER = 60;

export class WorkspaceKubernetes {
  readonly #options: WorkspaceKubernetesOptions;
  readonly #path: string;
  #written: string | undefined;
  /** Cached tokens by session, grant and principal. If any of these changes, no cached token matches. */
  readonly #tokens = new Map<string, Promise<KubernetesTokenResponse>>();

  constructor(options: WorkspaceKubernetesOptions) {
    this.#options = options;
    this.#path = join(options.runtimeDirectory, 'kubeconfig');
    // An agent that crashed may have left a kubeconfig behind.
    this.remove();
  }

  /** Rewrites the kubeconfig if it has changed because of a new session, certificate or list of services. */
  update(): void {
    const { credentials, log } = this.#options;
    const current = credentials();
    const grants = kubernetesGrants(current);
    const held = new Set(grants.map(({ grant }) => keyOf(current, grant)));
    for (const key of [...this.#tokens.keys()]) if (!held.has(key)) this.#tokens.delete(key);
    const text = grants.length === 0 ? undefined : kubeconfig(grants, current.kubernetes, this.#options);
    if (text === this.#written) return;
    try {
      if (text === undefined) this.remove();
      else writePrivateFile(this.#path, text);
      this.#written = text;
    } catch (thrown) {
      log('kubeconfig_failed', { code: toMeshpassError(thrown).code });
    }
  }

  /** The Kubernetes section of `meshpass status`. Undefined if no grant has roles. */
  get status(): KubernetesStatus | undefined {
    if (this.#written === undefined) return undefined;
    const grants = kubernetesGrants(this.#options.credentials());
    return {
      kubeconfig: this.#path,
      contexts: grants.map(({ grant, namespaces, host, port }) => ({
        name: contextOf(grant),
        grant,
        server: `https://${host}:${port}`,
        namespaces,
      })),
    };
  }

  get environment(): Readonly<Record<string, string>> {
    return this.#written === undefined ? {} : { KUBECONFIG: this.#path };
  }

  /**
   * Returns a token for the Kubernetes API server.
   * @param grant the name of the grant. Defaults to the first grant with roles, or else to the session's first grant
   * @throws MeshpassError `grant_unknown`, `kubernetes_not_granted`, `kubernetes_off`, or another code from the broker
   */
  async credential(grant?: string): Promise<KubernetesCredential> {
    const current = this.#options.credentials();
    // If the grant has no roles, only the broker can tell whether kubectl access is turned off.
    const asked = grant ?? kubernetesGrants(current)[0]?.grant ?? current.session.grants[0];
    if (asked === undefined) throw new MeshpassError('kubernetes_not_granted', 'This session has no grant left.');
    const { token, expires_at: expiresAt } = await this.#token(current, asked);
    return { token, expirationTimestamp: new Date((expiresAt - EARLIER) * 1000).toISOString() };
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /** Returns a cached token. If that token is about to expire, waits for a pending request or requests a new token. */
  async #token(current: Credentials, grant: string): Promise<KubernetesTokenResponse> {
    const key = keyOf(current, grant);
    const { client } = this.#options;
    const before = await this.#tokens.get(key)?.catch(() => undefined);
    if (before && before.expires_at - LEAST_LEFT > client.brokerNow / 1000) return before;
    const asked = request(client, current.accessToken, grant);
    this.#tokens.set(key, asked);
    // Failed requests are removed from the cache.
    asked.catch(() => this.#tokens.delete(key));
    return asked;
  }
}

async function request(
  client: Pick<BrokerClient, 'call'>,
  accessToken: string,
  grant: string,
): Promise<KubernetesTokenResponse> {
  const { KubernetesTokenResponse } = await import('@meshpass/identity/kubernetes');
  return client.call(
    { method: 'POST', path: '/kubernetes/token', accessToken, json: { grant } },
    KubernetesTokenResponse,
  );
}

/** Returns the cache key of a token. A grant that was lost and regained has a different ServiceAccount. */
function keyOf({ session, svids }: Credentials, grant: string): string {
  return `${session.id} ${grant} ${svids.get(grant)?.spiffeId}`;
}

/**
 * Returns the name of the cluster, the user and the context. The prefix avoids conflicts with the user's own contexts.
 */
function contextOf(grant: string): string {
  return `meshpass-${grant}`;
}

/**
 * Builds a kubeconfig in JSON, which is a subset of YAML. It obtains its credentials with
 * client.authentication.k8s.io/v1 and contains no secrets itself. The server is a loopback address, and
 * `tls-server-name` makes kubectl verify the API server under a name that every API server certificate contains.
 */
function kubeconfig(
  grants: readonly KubernetesGrant[],
  access: KubernetesAccess | undefined,
  { command, runtimeDirectory }: WorkspaceKubernetesOptions,
): string {
  const certificateAuthority = access?.certificate_authority;
  const [executable, ...words] = command;
  const document = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': contextOf(grants[0]!.grant),
    preferences: {},
    clusters: grants.map(({ grant, host, port }) => ({
      name: contextOf(grant),
      cluster: {
        server: `https://${host}:${port}`,
        'tls-server-name': KUBERNETES_API.host,
        ...(certificateAuthority !== undefined && {
          'certificate-authority-data': Buffer.from(certificateAuthority).toString('base64'),
        }),
      },
    })),
    users: grants.map(({ grant }) => ({
      name: contextOf(grant),
      user: {
        exec: {
          apiVersion: 'client.authentication.k8s.io/v1',
          command: executable,
          args: [...words, 'kubectl-credential', '--grant', grant],
          env: [{ name: 'MESHPASS_RUNTIME_DIR', value: runtimeDirectory }],
          interactiveMode: 'Never',
          provideClusterInfo: false,
          installHint: 'The Meshpass agent provides the credentials: run "meshpass up".',
        },
      },
    })),
    contexts: grants.map(({ grant, namespaces }) => ({
      name: contextOf(grant),
      context: { cluster: contextOf(grant), user: contextOf(grant), namespace: namespaces[0] },
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
