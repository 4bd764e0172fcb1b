/** Builds the workspace's kubeconfig, with one context for each grant that has roles. */
import { KUBERNETES_API } from '@meshpass/identity/kubernetes/api';
import type { KubernetesGrant } from './addresses.ts';

export interface KubeconfigParts {
  readonly grants: readonly KubernetesGrant[];
  /** PEM. If absent, kubectl uses the system's roots. */
  readonly certificateAuthority: string | undefined;
  /** Command that starts `meshpass`. */
  readonly command: readonly string[];
  readonly runtimeDirectory: string;
}

/** Returns the name for cluster, user and context. The prefix avoids conflicts with the user's own contexts. */
export function contextOf(grant: string): string {
  return `meshpass-${grant}`;
}

/**
 * Builds a kubeconfig (client.authentication.k8s.io/v1 for the credentials) as JSON, a subset of YAML. It contains no
 * secrets. The server is a loopback address, and `tls-server-name` makes kubectl verify the API server by a name that
 * is in every API server certificate.
 */
export function kubeconfig({ grants, certificateAuthority, command, runtimeDirectory }: KubeconfigParts): string {
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
