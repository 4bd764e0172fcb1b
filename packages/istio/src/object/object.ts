/**
 * The fields that all Kubernetes and Istio objects have in common. They have the same names and structure as in
 * manifests, and every optional field is optional here. Other modules interpret the fields.
 */

export type Texts = readonly string[];
export type Labels = Readonly<Record<string, string>>;

/** A path from the root of an object, made up of keys and indexes, such as `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** A position in a file. Lines and columns start at 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** The source and position of an object. */
export interface Origin {
  /** The name of the file or the cluster. */
  readonly file: string;
  /**
   * The first line of the object, starting at 1. It is computed on demand, by parsing the text again. It is 0 for
   * objects without a line, such as those from a cluster.
   */
  readonly line: number;
  /** The Helm template that produced the object, from the `# Source:` comment before the document. */
  readonly template?: string;
  /** Whether the object does not specify a namespace and is assumed to be in `default`. */
  readonly unplaced?: true;
  /**
   * Computes the position of the field at a path, or of its nearest ancestor that exists. This is too slow for hot
   * paths.
   * @param part the key or the value (the default). List items only have a value
   */
  readonly at: (path: Path, part?: 'key' | 'value') => Place;
}

export interface Metadata {
  readonly name: string;
  /** The namespace. Defaults to `default` for namespaced objects, and is empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** The creation time in RFC 3339 format. If policies conflict, Istio prefers the oldest one. */
  readonly creationTimestamp?: string;
  /** The uid that the API server assigned. If it is present, the object is or was in a cluster. */
  readonly uid?: string;
}

export interface KubeObject<Kind extends string = string> {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Metadata;
  readonly origin: Origin;
}

/** An object whose content is in `spec`. */
export interface SpecObject<Kind extends string, Spec> extends KubeObject<Kind> {
  readonly spec: Spec;
}
