/** Compares lint with can-i: whether a workload accepts calls without a certificate. */

import { type MeshConfig, type Resource, viewMesh } from '@meshpass/istio';
import { createAuthorizer } from '../../src/evaluate/authorizer.ts';
import { lintContext } from '../../src/lint/context.ts';
import { resolveMutualTlsMode } from '../../src/lint/rules/mutual-tls.ts';
import type { Tally } from './tally.ts';

/** Port that no PeerAuthentication names. */
const OTHER_PORT = 61_234;

export function askLint(tally: Tally, round: number, resources: readonly Resource[], config: MeshConfig): void {
  const linted = lintContext(resources, { now: 0, rootNamespace: config.rootNamespace });
  const view = viewMesh(resources, config);
  for (const workload of view.workloads) {
    // Gateways ignore PeerAuthentications, and the rules do not check them.
    if (workload.kind !== 'sidecar') continue;
    const { mode, open } = resolveMutualTlsMode(linted.mesh, workload.namespace, workload.labels);
    const authorizer = createAuthorizer(view, workload);
    const refused = (port: number) => authorizer.decide({ port, sourceIp: '198.51.100.1' }).reason === 'plaintext';
    tally.ask('lint: mutual TLS', round, (mode === 'STRICT') === refused(OTHER_PORT), !refused(OTHER_PORT), () => ({
      workload: workload.name,
      mode,
    }));
    if (open)
      tally.ask('lint: an open port', round, !refused(open.port), true, () => ({
        workload: workload.name,
        open: open.port,
      }));
  }
}
