/** The kubeconfig of the workspace: one context for each grant that has roles. */
import { rmSync } from 'node:fs';
import { KUBERNETES_API } from '@meshpass/identity/kubernetes/api';
import { writeOwnFile } from '../control/own-files.ts';
import type { KubernetesGrant } from './addresses.ts';

export interface KubeconfigParts {
  readonly grants: readonly KubernetesGrant[];
  /** PEM; absent: the roots of the system. */
  readonly certificateAuthority: string | undefined;
  /** How `meshpass` is started. */
  readonly command: readonly string[];
  readonly runtimeDirectory: string;
}

/** Name of cluster, user and context: that of the grant's namespace, so that it meets no other of the user's. */
export function contextOf(grant: string): string {
  return `meshpass-${grant}`;
}

/**
 * A kubeconfig (client.authentication.k8s.io/v1 for the credentials) as JSON, which is YAML. It holds no secret. The server is a
 * loopback address; by `tls-server-name` kubectl verifies the API server by the name that each has in its certificate.
 */
export function kubeconfig({ grants, certificateAuthority, command, runtimeDirectory }: KubeconfigParts): string {
  const [executable, ...words] = command;
  const document = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': contextOf(grants[0]!.grant), preferences: {} },
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
          installHint: 'The agent of Meshpass gives the credentials: run "meshpass up".',
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

/** For its owner alone, in place of the one before. @throws MeshpassError config_invalid where it cannot be written */
export function writeKubeconfig(path: string, text: string): void {
  writeOwnFile(path, text);
}

export function removeKubeconfig(path: string): void {
  rmSync(path, { force: true });
}
