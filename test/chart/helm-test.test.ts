/** The Pods of `helm test`, as Helm renders them. */
import { expect, it } from 'vitest';
import { BUILD_MS, FIRST_INSTALL, render } from './helm.ts';

it(
  'ask the broker, and shake hands with the edge, without a right in the cluster',
  async () => {
    const tests = (await render(FIRST_INSTALL)).filter(({ kind }) => kind === 'Pod');
    expect(tests.map(({ metadata, spec }) => [metadata.name, spec.containers[0].args])).toEqual([
      ['meshpass-test-broker', ['version', '--wait=30', '--broker=https://broker.example.com']],
      [
        'meshpass-test-edge',
        ['check', '--no-cluster', '--namespace=meshpass-system', '--edge-address=edge.example.com:443'],
      ],
    ]);
    for (const { metadata, spec } of tests) {
      expect(metadata.annotations).toMatchObject({ 'helm.sh/hook': 'test' });
      expect(metadata.labels).toMatchObject({ 'app.kubernetes.io/component': 'test' });
      expect(spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true } });
      expect(spec.containers[0].securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  },
  BUILD_MS,
);
