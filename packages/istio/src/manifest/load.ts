/**
 * Loads manifests from YAML or JSON, including files with multiple documents, Lists, and the output of Helm. The input
 * may be malicious. Loading always finishes quickly, uses a limited amount of memory, and reports each problem with its
 * file and line.
 */
import type { ErrorCode } from '@meshpass/identity';
import { didYouMean } from '../did-you-mean.ts';
import type { KubeObject, Metadata, Origin, Path, Place } from '../object/object.ts';
import type { Resource } from '../object/resources.ts';
import { checkShape, type Shape } from '../object/shape.ts';
import { isServerDefinedField, objectShape } from '../object/shapes.ts';
import { decodeText, firstInvalidUtf8Line } from './decode.ts';
import { countOccurrences, cutDocuments, whyTooLarge } from './documents.ts';
import { findOffset, parseYamlValues, YamlError } from './read-yaml.ts';

/** The maximum size of the input in bytes. */
export const MAX_BYTES = 32 * 1024 * 1024;
const MAX_OBJECTS = 200_000;
const MAX_PROBLEMS = 1_000;

export interface ManifestProblem {
  /** The error code: `manifest_syntax`, `manifest_too_large`, `manifest_invalid` or `manifest_unknown_field`. */
  readonly code: Extract<ErrorCode, `manifest_${string}`>;
  readonly place: Place;
  readonly message: string;
}

export interface LoadedManifests {
  /** The valid objects of supported kinds, in the order in which they appear. */
  readonly resources: readonly Resource[];
  /** Objects of kinds that do not affect policies, exactly as they were read. */
  readonly others: readonly KubeObject[];
  /**
   * All problems, in the order in which they appear. An object whose only problem is an unknown field is still included
   * in `resources`.
   */
  readonly problems: readonly ManifestProblem[];
}

/**
 * Loads manifests. Invalid text never throws an error, and is reported in `problems` instead.
 * @param text the YAML or JSON text. Bytes must be UTF-8, or UTF-16 with a byte order mark
 * @param name the file name to use in source positions
 * @param namespace the namespace for objects without one, as in the output of `helm template`. Defaults to `default`
 * @example
 * ```ts
 * import { loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const { resources, problems } = loadManifests(orders, 'orders.yaml');
 * resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`); // => ['Service orders']
 * problems; // => []
 * ```
 */
export function loadManifests(text: string | Uint8Array, name: string, namespace?: string): LoadedManifests {
  const loading = new Loading(name, namespace);
  const size = typeof text === 'string' ? text.length : text.byteLength;
  if (size > MAX_BYTES) {
    const message = `the text is larger than ${MAX_BYTES >> 20} MiB`;
    loading.report('manifest_too_large', { file: name, line: 1, column: 1 }, message);
  } else {
    const decoded = typeof text === 'string' ? text.replace(/^\uFEFF/, '') : decodeText(text);
    if (decoded !== undefined) loading.read(decoded);
    else {
      const line = firstInvalidUtf8Line(text as Uint8Array);
      loading.report('manifest_syntax', { file: name, line, column: 1 }, 'the text is not valid UTF-8');
    }
  }
  return loading;
}

/**
 * Loads an object that an API server returned. The fields of routes and traffic policies change with every Istio
 * version, so unknown fields are accepted there. The API server has already removed the fields that it does not know.
 * @param name the name to use in source positions
 * @example
 * ```ts
 * import { loadObject } from '@meshpass/istio';
 * const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
 * loadObject(object, 'cluster').resources[0]!.metadata.name; // => 'shop'
 * ```
 */
export function loadObject(object: unknown, name: string): LoadedManifests {
  const loading = new Loading(name);
  const at: Origin['at'] = (path) => ({
    file: path.length === 0 ? name : `${name} ${path.join('.')}`,
    line: 0,
    column: 0,
  });
  loading.take(structuredClone(object), { at, served: true });
  return loading;
}

/** The source of an object. */
interface Source {
  /** Returns the position of a path within the object. */
  readonly at: Origin['at'];
  readonly template?: string;
  /** Whether the object was returned by an API server. */
  readonly served?: true;
}

class Loading implements LoadedManifests {
  readonly resources: Resource[] = [];
  readonly others: KubeObject[] = [];
  readonly problems: ManifestProblem[] = [];
  readonly #file: string;
  readonly #namespace: string | undefined;
  #given = 0;

  constructor(file: string, namespace?: string) {
    this.#file = file;
    this.#namespace = namespace;
  }

  read(text: string): void {
    let line = 1;
    for (const { start, end } of cutDocuments(text)) {
      if (this.#full) return;
      const stretch = text.slice(start, end);
      this.#stretch(stretch, line);
      line += countOccurrences(stretch, '\n');
    }
  }

  report(code: ManifestProblem['code'], place: Place, message: string): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push({ code, place, message });
  }

  /** Adds an object or, if it is invalid, its problems. */
  take(object: unknown, source: Source): void {
    const { at } = source;
    if (this.#full || object === null || object === undefined) return;
    const wrong = (message: string, member: Path = []): void => this.report('manifest_invalid', at(member), message);
    const { apiVersion, kind, metadata, items } = Object(object) as Record<string, unknown>;
    if (typeof object !== 'object' || typeof apiVersion !== 'string' || typeof kind !== 'string' || kind === '') {
      wrong('not a Kubernetes object: apiVersion and kind are required');
      return;
    }
    if (kind.endsWith('List') && Array.isArray(items)) {
      this.#list(items, apiVersion, kind, source);
      return;
    }
    if (++this.#given > MAX_OBJECTS) {
      this.report('manifest_too_large', at([]), `the text contains more than ${MAX_OBJECTS} objects`);
      return;
    }
    const named = readMetadata(kind, metadata, wrong, this.#namespace);
    if (!named) return;
    const read = { ...object, kind, metadata: named } as { -readonly [Member in keyof KubeObject]: KubeObject[Member] };
    read.kind = kindOf(apiVersion, kind) ?? kind;
    const origin: Origin = {
      file: this.#file,
      get line() {
        return at([]).line;
      },
      at,
      ...(source.template !== undefined && { template: source.template }),
      ...(this.#namespace === undefined &&
        named.namespace === 'default' &&
        !Object(metadata).namespace && { unplaced: true as const }),
    };
    Object.defineProperty(read, 'origin', { value: origin, enumerable: false });
    if (kindOf(apiVersion, kind) === undefined) {
      this.others.push(read);
      return;
    }
    if (this.#sound(read, source)) this.resources.push(read as Resource);
  }

  get #full(): boolean {
    return this.problems.length >= MAX_PROBLEMS || this.#given > MAX_OBJECTS;
  }

  #stretch(text: string, line: number): void {
    const refusal = whyTooLarge(text);
    if (refusal !== undefined) {
      this.report('manifest_too_large', { file: this.#file, line, column: 1 }, refusal);
      return;
    }
    const place = placesIn(text, this.#file, line);
    try {
      const template = /^# Source: (\S+)$/m.exec(text.slice(0, 1000))?.[1];
      for (const [index, value] of parseYamlValues(text).entries()) {
        const at: Origin['at'] = (path, part = 'value') => place(findOffset(text, index, path, part));
        this.take(value, { at, ...(template !== undefined && { template }) });
      }
    } catch (thrown) {
      if (!(thrown instanceof YamlError)) throw thrown;
      this.report(thrown.bound ? 'manifest_too_large' : 'manifest_syntax', place(thrown.offset), thrown.message);
    }
  }

  #list(items: readonly unknown[], apiVersion: string, kind: string, source: Source): void {
    for (const [index, item] of items.entries()) {
      // The items of a typed List omit their kind.
      if (kind !== 'List' && typeof item === 'object' && item !== null && !Object.hasOwn(item, 'kind'))
        Object.assign(item, { apiVersion, kind: kind.slice(0, -'List'.length) });
      this.take(item, { ...source, at: (path, part) => source.at(['items', index, ...path], part) });
    }
  }

  /** Reports the invalid fields of an object. Returns false if the object cannot be used. */
  #sound(object: KubeObject, { at, served }: Source): boolean {
    const shape = objectShape(object.kind);
    if (!shape) return true;
    if ('spec' in shape.open) (object as { spec?: unknown }).spec ??= {};
    const all = checkShape(object, shape);
    const found = served ? all.filter((one) => !(one.unknown && isServerDefinedField(object.kind, one.path))) : all;
    const kind = object.kind === 'KubernetesGateway' ? 'Gateway' : object.kind;
    for (const { path, part, unknown, message } of found) {
      const code = unknown ? 'manifest_unknown_field' : 'manifest_invalid';
      const hint = unknown ? didYouMean(unknown.field, unknown.known) : '';
      this.report(code, at(path, part), `${kind} ${object.metadata.name}: ${path.join('.')}: ${message}${hint}`);
    }
    return found.every(({ unknown }) => unknown);
  }
}

const CLUSTER_SCOPED = new Set([
  'Namespace',
  'ClusterRole',
  'ClusterRoleBinding',
  'GatewayClass',
  'IngressClass',
  'IngressClassParams',
]);

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  'security.istio.io': ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'],
  'networking.istio.io': ['Gateway', 'VirtualService', 'DestinationRule', 'ServiceEntry', 'Sidecar', 'EnvoyFilter'],
  'extensions.istio.io': ['WasmPlugin', 'TrafficExtension'],
  '': ['Service', 'Namespace', 'ServiceAccount', 'Pod', 'ConfigMap'],
  apps: ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'],
  batch: ['Job'],
  'networking.k8s.io': ['Ingress', 'IngressClass'],
  'gateway.networking.k8s.io': [
    ...['GatewayClass', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'ReferenceGrant', 'ListenerSet'],
    'BackendTLSPolicy',
  ],
  'gateway.networking.x-k8s.io': ['XListenerSet'],
  'gateway.envoyproxy.io': ['SecurityPolicy'],
  'elbv2.k8s.aws': ['IngressClassParams'],
  'rbac.authorization.k8s.io': ['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding'],
};

const KINDS = new Map(
  Object.entries(GROUPS).flatMap(([group, kinds]) => kinds.map((kind) => [`${group}/${kind}`, kind] as const)),
);
KINDS.set('gateway.networking.k8s.io/Gateway', 'KubernetesGateway');

function kindOf(apiVersion: string, kind: string): string | undefined {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  return KINDS.get(`${group}/${kind}`);
}

type Wrong = (message: string, member?: Path) => void;

function readMetadata(kind: string, metadata: unknown, wrong: Wrong, assumed = 'default'): Metadata | undefined {
  const [problem] = checkShape(metadata ?? null, METADATA, ['metadata']);
  if (problem) {
    wrong(`${problem.path.join('.')}: ${problem.message}`, problem.path);
    return undefined;
  }
  const given = metadata as Partial<Metadata> & { readonly generateName?: string };
  const name = given.name ?? given.generateName;
  if (!name) {
    wrong('the object has no metadata.name', ['metadata']);
    return undefined;
  }
  return { ...given, name, namespace: given.namespace || (CLUSTER_SCOPED.has(kind) ? '' : assumed) };
}

const METADATA: Shape = {
  open: {
    name: 'text',
    generateName: 'text',
    namespace: 'text',
    labels: { map: 'text' },
    annotations: { map: 'text' },
  },
};

/**
 * Creates a function that converts text offsets to positions. Line breaks are located only once, when the function is
 * first called.
 */
function placesIn(text: string, file: string, first: number): (offset: number) => Place {
  let breaks: number[] | undefined;
  return (offset) => {
    if (!breaks) {
      breaks = [];
      for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) breaks.push(at);
    }
    // Binary search for the number of line breaks before the offset.
    let [line, above] = [0, breaks.length];
    while (line < above) {
      const middle = (line + above) >> 1;
      if (breaks[middle]! < offset) line = middle + 1;
      else above = middle;
    }
    return { file, line: first + line, column: offset - (breaks[line - 1] ?? -1) };
  };
}
