/** istiod: whether it runs, of which version, and how long the roots of the mesh are good. */
import { X509Certificate } from 'node:crypto';
import { type Finding, wrong } from '../doctor/line.ts';
import { type CheckContext, fine, list, read, type Seen } from './context.ts';
import { expiry } from './expiry.ts';

/** Of minor versions: the oldest whose xDS and CA are tested. */
export async function checkIstiod({ http, rootNamespace, istiod }: CheckContext): Promise<readonly Finding[]> {
  const slices = await list(http, `/apis/discovery.k8s.io/v1/namespaces/${rootNamespace}/endpointslices`, {
    'kubernetes.io/service-name': istiod,
  });
  const seen = `kubectl -n ${rootNamespace} get endpointslices -l kubernetes.io/service-name=${istiod}`;
  const ready = slices.flatMap(({ endpoints, ports }) => {
    const hasCa = ports?.some(({ port }: { port: number }) => port === 15012);
    return hasCa ? (endpoints ?? []).filter((one: Seen) => one.conditions?.ready !== false) : [];
  });
  if (ready.length === 0)
    return [
      wrong(
        'istiod',
        `The Service ${istiod} in ${rootNamespace} has no ready endpoint on port 15012: no certificate is signed.`,
        {
          seen,
          next: 'Name the namespace of istiod with --root-namespace, and its Service with --istiod-service: that of a revision is istiod-REVISION.',
          command: `kubectl -n ${rootNamespace} get pods,services -l app=istiod`,
        },
      ),
    ];
  const pods = await list(http, `/api/v1/namespaces/${rootNamespace}/pods`, { app: 'istiod' });
  const versions = [...new Set(pods.flatMap(versionsOf))].sort();
  const told = versions.length === 0 ? 'its version is not in its image' : versions.join(', ');
  if (versions.length > 1)
    return [
      {
        ...{ check: 'istiod', state: 'warning', seen: `kubectl -n ${rootNamespace} get pods -l app=istiod -o wide` },
        says: `istiod runs in ${versions.length} versions: ${told}.`,
        next: 'During an upgrade that is as it should be; finish it.',
        command: 'istioctl version',
      },
    ];
  return [fine('istiod', `${ready.length} ready; ${told}.`, seen)];
}

function versionsOf({ spec }: Seen): readonly string[] {
  const containers: readonly { image?: string }[] = spec?.containers ?? [];
  return containers.flatMap(({ image }) => /:([0-9]+\.[0-9][\w.-]*)(?:@|$)/.exec(image ?? '')?.[1] ?? []);
}

export async function checkRoots({ http, rootNamespace, now }: CheckContext): Promise<readonly Finding[]> {
  const map = await read(http, `/api/v1/namespaces/${rootNamespace}/configmaps/istio-ca-root-cert`);
  const pem: unknown = map?.data?.['root-cert.pem'];
  const roots =
    typeof pem === 'string' ? (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []) : [];
  const seen = `kubectl -n ${rootNamespace} get configmap istio-ca-root-cert`;
  if (roots.length === 0)
    return [
      wrong('roots', `ConfigMap istio-ca-root-cert in ${rootNamespace} has no certificate.`, {
        ...{ seen, next: 'istiod writes it: see its log.' },
        command: `kubectl -n ${rootNamespace} logs -l app=istiod --tail 100`,
      }),
    ];
  return roots.map((one) => {
    const certificate = new X509Certificate(one);
    const name = certificate.subject.replaceAll('\n', ', ') || certificate.fingerprint256.slice(0, 23);
    return expiry('roots', `The root of the mesh ${name}`, certificate.validToDate.getTime(), now(), {
      ...{ seen, days: 30, command: 'meshpass rotate --help' },
      next: 'Change the root of the mesh: docs/rotation.md has the order.',
    });
  });
}
