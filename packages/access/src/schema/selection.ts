/** Selects Services and namespaces for the entries of an access file. */
import { isDnsLabel } from '@meshpass/identity';
import { type Mesh, selects } from '@meshpass/istio';
import { malformedText, notValid, type Parsed, unanchoredPattern } from '../problem.ts';
import { matchesGlob } from './pattern.ts';

/** Parses `NAME.NAMESPACE`, or just `NAME` if the namespace is given separately. */
export function parseServiceName(
  text: string,
): Parsed<{ readonly service: string; readonly namespace: string | undefined }> {
  if (text.includes('*'))
    return unanchoredPattern(
      `${JSON.stringify(text)}: a service in this form is granted by its exact name; to select several, use namespace and labels`,
    );
  const [service, namespace, ...rest] = text.split('.');
  if (service && namespace && rest.length > 0 && rest[0] === 'svc') {
    return malformedText(`${JSON.stringify(text)}: write the service as ${service}.${namespace}`);
  }
  const named = service && isDnsLabel(service) && rest.length === 0;
  if (!named || (namespace !== undefined && !isDnsLabel(namespace))) {
    return notValid(text, 'service: use NAME.NAMESPACE');
  }
  return { value: { service, namespace } };
}

/** Parses a host such as `orders.shop.svc.cluster.local`. Its domain is checked later, when the mesh is known. */
export function parseHost(text: string): Parsed<string> {
  if (text.includes('*')) return unanchoredPattern(`${JSON.stringify(text)}: write the host in full`);
  const [service, namespace, svc, ...domain] = text.split('.');
  const names = [service ?? '', namespace ?? '', ...domain];
  if (svc !== 'svc' || domain.length === 0 || !names.every(isDnsLabel)) {
    return notValid(text, 'Service host: use a name such as orders.shop.svc.cluster.local');
  }
  return { value: text };
}

/** Parses the name of a namespace or a pattern. `*` matches any characters and must not come first. */
export function parseNamespacePattern(text: string): Parsed<string> {
  if (text.startsWith('*'))
    return unanchoredPattern(
      `${JSON.stringify(text)} starts with *, so it matches any team's namespaces: start it with letters, or use namespace_labels`,
    );
  return isDnsLabel(text.replaceAll('*', 'x')) && !text.includes('**')
    ? { value: text }
    : notValid(text, 'namespace: use lower-case letters, digits and inner hyphens, and * for any characters');
}

/** Parses a Kubernetes port name (RFC 6335 section 5.1), which must contain at least one letter. */
export function parsePortName(text: string): Parsed<string> {
  if (/^[0-9]+$/.test(text)) return malformedText(`expected a number, found text: write ${text} without quotes`);
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)
    ? { value: text }
    : notValid(text, "port name: use the port's number, or its name in the Service");
}

const LABEL_NAME = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

/** Parses Kubernetes labels. At least one label is required, because an empty set would select everything. */
export function parseLabels(labels: Readonly<Record<string, string>>): Parsed<Readonly<Record<string, string>>> {
  const entries = Object.entries(labels);
  if (entries.length === 0) return malformedText('an empty set of labels would select everything: add a label');
  if (entries.length > 20) return malformedText('more than 20 labels');
  const bad = entries.find(([name, value]) => !LABEL_NAME.test(name) || !LABEL_VALUE.test(value));
  if (!bad) return { value: labels };
  const pattern = bad[1].includes('*') ? ': labels do not support patterns' : '';
  return malformedText(`${JSON.stringify(`${bad[0]}: ${bad[1]}`)} is not a valid Kubernetes label${pattern}`);
}

/** A selection of namespaces. If both fields are present, both must match. */
interface NamespaceSelection {
  readonly namespace?: string;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
}

/** The parts of a mesh that determine which namespaces are selected. */
interface NamespacesOfMesh extends Pick<Mesh, 'rootNamespace' | 'namespaces'> {
  readonly gateway: Pick<Mesh['gateway'], 'namespace'>;
}

/**
 * Whether an entry selects namespaces instead of naming a single one.
 * @example
 * ```ts
 * import { isSelection } from '@meshpass/access/compile';
 * isSelection({ namespace: 'shop' }); // => false
 * isSelection({ namespace: 'team-*' }); // => true
 * ```
 */
export function isSelection({ namespace, namespaceLabels }: NamespaceSelection): boolean {
  return namespaceLabels !== undefined || namespace === undefined || namespace.includes('*');
}

/**
 * Lists the namespaces that currently match the selection. Namespaces that belong to the mesh, to Kubernetes or to a
 * grant are never selected, and can only be named explicitly.
 * @example
 * ```ts
 * import { meshOf, selectedNamespaces } from '@meshpass/access/compile';
 * import { loadManifests } from '@meshpass/istio';
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const namespace = '{apiVersion: v1, kind: Namespace, metadata: {name: team-a, labels: {env: test}}}';
 * const mesh = meshOf(loadManifests(namespace, 'cluster.yaml').resources, shape);
 * selectedNamespaces({ namespaceLabels: { env: 'test' } }, mesh); // => ['team-a']
 * ```
 */
export function selectedNamespaces(selection: NamespaceSelection, mesh: NamespacesOfMesh): readonly string[] {
  const { namespace, namespaceLabels } = selection;
  return (mesh.namespaces ?? [])
    .filter(
      ({ name, labels }) =>
        !isReserved(name, mesh) &&
        (namespace === undefined || matchesGlob(namespace, name)) &&
        (namespaceLabels === undefined || selects(namespaceLabels, labels)),
    )
    .map(({ name }) => name)
    .sort();
}

/** Whether a namespace belongs to the mesh, to Kubernetes or to a grant. */
export function isReserved(namespace: string, mesh: NamespacesOfMesh): boolean {
  return (
    namespace === mesh.rootNamespace ||
    namespace === mesh.gateway.namespace ||
    namespace.startsWith('kube-') ||
    namespace.startsWith('meshpass-')
  );
}
