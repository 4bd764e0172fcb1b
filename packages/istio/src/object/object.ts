/**
 * Fields common to all Kubernetes and Istio objects. Names and nesting are those of the manifests, and every optional
 * field is optional here. Other modules interpret the fields.
 */
import type { Place } from './place.ts';

export type Texts = readonly string[];
export type Labels = Readonly<Record<string, string>>;

/** Steps from an object's root: keys and indexes, such as `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** Source position of an object. */
export interface Origin {
  /** Name of the file or cluster. */
  readonly file: string;
  /** First line of the object, 1-based. 0 if it has none, like an object from a cluster. */
  readonly line: number;
  /** Helm template that produced the object (`# Source:` before the document). */
  readonly template?: string;
  /** Whether the object has no namespace and is assumed to be in `default`. */
  readonly unplaced?: true;
  /**
   * Computes the position of the field at `path`, or of its nearest existing ancestor. Too slow for hot paths.
   * @param part key or value (the default); list items have only a value
   */
  readonly at: (path: Path, part?: 'key' | 'value') => Place;
}

export interface Metadata {
  readonly name: string;
  /** Namespace. Defaults to `default` for namespaced objects, and is empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** RFC 3339. If policies conflict, Istio prefers the oldest one. */
  readonly creationTimestamp?: string;
  /** Assigned by the API server. If present, the object is or was in a cluster. */
  readonly uid?: string;
}

export interface KubeObject<Kind extends string = string> {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Metadata;
  readonly origin: Origin;
}

/** Object whose content is in `spec`. */
export interface SpecObject<Kind extends string, Spec> extends KubeObject<Kind> {
  readonly spec: Spec;
}
