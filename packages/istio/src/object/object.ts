/**
 * Fields common to all Kubernetes and Istio objects. Names and nesting follow the manifests, and every optional field
 * is optional here. Other modules interpret them.
 */
import type { Place } from './place.ts';

export type Texts = readonly string[];
export type Labels = Readonly<Record<string, string>>;

/** Steps from an object's root: keys and indexes, such as `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** An object's source position. */
export interface Origin {
  /** File or cluster name. */
  readonly file: string;
  /** The object's first line, from 1. 0 if it has none, as in a cluster. */
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
  /** `default` if a namespaced object has none. Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** RFC 3339. If policies conflict, Istio prefers the oldest. */
  readonly creationTimestamp?: string;
  /** Assigned by the API server, so the object is or was in a cluster. */
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
