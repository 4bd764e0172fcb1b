/** Checks Istio's version against the releases that the tests run with. */
import { ok, unknown, warning } from '../../diagnosis/finding.ts';
import type { Findings } from '../../diagnosis/run.ts';
import type { CheckContext } from '../context.ts';
import { istiodVersions } from '../istiod.ts';

/**
 * Minor Istio releases that the tests run with (docs/testing/releases.md). The README, the install page and docs/versioning.md list the same ones.
 */
export const TESTED_ISTIO: readonly string[] = ['1.29', '1.30', '1.31'];

/** Checks the version of each istiod. */
export async function checkIstioVersion(context: CheckContext): Promise<Findings> {
  const versions = await istiodVersions(context);
  const seen = `kubectl -n ${context.rootNamespace} get pods -l app=istiod -o wide`;
  const tested = `Meshpass is tested with Istio ${TESTED_ISTIO.join(', ')}`;
  if (versions.length === 0)
    return unknown('istio', `No istiod image in ${context.rootNamespace} has a version tag. ${tested}.`, {
      seen,
      command: 'istioctl version',
    });
  return versions.map((version) =>
    TESTED_ISTIO.some((one) => version === one || version.startsWith(`${one}.`))
      ? ok('istio', `Istio ${version} is a tested release.`, seen)
      : warning('istio', `Istio ${version} is not a tested release. ${tested}.`, {
          seen,
          next: 'Install a tested release, or try Meshpass on a test cluster first.',
        }),
  );
}
