/**
 * Calls from a Gateway to a Service that fail, because a BackendTLSPolicy refers to no valid certificate. Source: the
 * reference of BackendTLSPolicy, `caCertificateRefs`; `getBackendTLSCredentialName` in
 * pilot/pkg/config/kube/gateway/backend_policies.go.
 */
import type { BackendTLSPolicy, MeshView, Service } from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import type { EntryPoint } from '../exposure.ts';

/**
 * Whether every call from a proxy to a Service fails: each reference of its policy is to an empty ConfigMap of the input,
 * or of a kind that Istio does not support.
 */
export function failsTls(
  mesh: MeshView,
  service: Service | undefined,
  port: number | undefined,
  { by }: EntryPoint['proxy'],
): boolean {
  const policy = service && policyOf(mesh, service, port);
  const references = items(policy?.spec.validation?.caCertificateRefs);
  return (
    references.length > 0 &&
    references.every(({ group = '', kind, name }) =>
      group === '' && kind === 'ConfigMap' ? isEmptyConfigMap(mesh, service!.metadata.namespace, name) : by === 'istio',
    )
  );
}

/** Returns the policy of a port: one for that port precedes one for the Service, and an older one precedes the others. */
function policyOf(mesh: MeshView, service: Service, port: number | undefined): BackendTLSPolicy | undefined {
  const name = items(service.spec.ports).find((one) => one.port === port)?.name;
  const targeting = (section: string | undefined) =>
    mesh
      .within('BackendTLSPolicy', service.metadata.namespace)
      .find(({ spec }) =>
        items(spec.targetRefs).some(
          (one) => one.kind === 'Service' && one.name === service.metadata.name && one.sectionName === section,
        ),
      );
  return (name === undefined ? undefined : targeting(name)) ?? targeting(undefined);
}

function isEmptyConfigMap(mesh: MeshView, namespace: string, name: string | undefined): boolean {
  const found = mesh.within('ConfigMap', namespace).find(({ metadata }) => metadata.name === name);
  return found !== undefined && !labels(found.data)['ca.crt'];
}
