/** Checks whether istiod is ready, which version it runs, and how long the mesh's root certificates remain valid. */

import { X509Certificate } from 'node:crypto';
import { pageUrl } from '@meshpass/identity';
import { type Finding, type Findings, misconfigured, ok, unknown, warning } from '../diagnosis/finding.ts';
import { checkExpiry } from './certificates.ts';
import { type CheckContext, list, read, type Seen } from './context.ts';

/** Checks that istiod is ready and that all of its Pods run the same version. */
export async function checkIstiod(context: CheckContext): Promise<Finding> {
  const { http, rootNamespace, istiod } = context;
  const slices = await list(http, `/apis/discovery.k8s.io/v1/namespaces/${rootNamespace}/endpointslices`, {
    'kubernetes.io/service-name': istiod,
  });
  const seen = `kubectl -n ${rootNamespace} get endpointslices -l kubernetes.io/service-name=${istiod}`;
  const ready = slices.flatMap(({ endpoints, ports }) => {
    const hasCa = ports?.some(({ port }: { port: number }) => port === 15012);
    return hasCa ? (endpoints ?? []).filter((one: Seen) => one.conditions?.ready !== false) : [];
  });
  if (ready.length === 0)
    return misconfigured(
      `The Service ${istiod} in ${rootNamespace} has no ready endpoint on port 15012, so istiod cannot sign certificates.`,
      {
        seen,
        next: "Pass istiod's namespace as --root-namespace and its Service as --istiod-service (istiod-REVISION for a revision).",
        command: `kubectl -n ${rootNamespace} get pods,services -l app=istiod`,
      },
    );
  const versions = await istiodVersions(context);
  const told = versions.length === 0 ? 'unknown version' : versions.join(', ');
  if (versions.length > 1)
    return warning(`${versions.length} versions of istiod are running: ${told}.`, {
      seen: `kubectl -n ${rootNamespace} get pods -l app=istiod -o wide`,
      next: 'This is normal during an upgrade. Finish the upgrade.',
      command: 'istioctl version',
    });
  return ok(`${ready.length} ready; ${told}.`, seen);
}

/** Lists the versions of the istiod Pods according to their image tags. Images without a version tag are ignored. */
async function istiodVersions({ http, rootNamespace }: CheckContext): Promise<readonly string[]> {
  const pods = await list(http, `/api/v1/namespaces/${rootNamespace}/pods`, { app: 'istiod' });
  return [...new Set(pods.flatMap(versionsOf))].sort();
}

function versionsOf({ spec }: Seen): readonly string[] {
  const containers: readonly { image?: string }[] = spec?.containers ?? [];
  return containers.flatMap(({ image }) => /:([0-9]+\.[0-9][\w.-]*)(?:@|$)/.exec(image ?? '')?.[1] ?? []);
}

/** Checks how long the mesh's root certificates remain valid. */
export async function checkRoots({ http, rootNamespace, now }: CheckContext): Promise<readonly Finding[]> {
  const map = await read(http, `/api/v1/namespaces/${rootNamespace}/configmaps/istio-ca-root-cert`);
  const pem: unknown = map?.data?.['root-cert.pem'];
  const roots =
    typeof pem === 'string' ? (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []) : [];
  const seen = `kubectl -n ${rootNamespace} get configmap istio-ca-root-cert`;
  if (roots.length === 0)
    return [
      misconfigured(`ConfigMap istio-ca-root-cert in ${rootNamespace} contains no certificate.`, {
        seen,
        next: 'istiod writes this ConfigMap. Check the istiod log.',
        command: `kubectl -n ${rootNamespace} logs -l app=istiod --tail 100`,
      }),
    ];
  return roots.map((one) => {
    const certificate = new X509Certificate(one);
    const name = certificate.subject.replaceAll('\n', ', ') || certificate.fingerprint256.slice(0, 23);
    return checkExpiry(`The mesh root ${name}`, certificate.validToDate.getTime(), now(), {
      seen,
      days: 30,
      command: 'meshpass rotate --help',
      next: `Rotate the mesh root as described in ${pageUrl('docs/rotation.md')}.`,
    });
  });
}

/**
 * The Istio minor releases that the tests cover (docs/testing/releases.md). Keep this list in sync with the README, the
 * install page and docs/versioning.md.
 */
export const TESTED_ISTIO_VERSIONS: readonly string[] = ['1.29', '1.30', '1.31'];

/** Checks that every running istiod has a version that Meshpass is tested with. */
export async function checkIstioVersion(context: CheckContext): Promise<Findings> {
  const versions = await istiodVersions(context);
  const seen = `kubectl -n ${context.rootNamespace} get pods -l app=istiod -o wide`;
  const tested = `Meshpass is tested with Istio ${TESTED_ISTIO_VERSIONS.join(', ')}`;
  if (versions.length === 0)
    return unknown(`No istiod image in ${context.rootNamespace} has a version tag. ${tested}.`, {
      seen,
      command: 'istioctl version',
    });
  return versions.map((version) =>
    TESTED_ISTIO_VERSIONS.some((one) => version === one || version.startsWith(`${one}.`))
      ? ok(`Istio ${version} is a tested release.`, seen)
      : warning(`Istio ${version} is not a tested release. ${tested}.`, {
          seen,
          next: 'Install a tested release, or try Meshpass on a test cluster first.',
        }),
  );
}
