/**
 * What every object of Kubernetes and Istio has, as it is written: members are named and nested as in manifests, and everything that
 * may be left out is optional. What a manifest means is decided elsewhere.
 */
import type { Place } from './place.ts';

export type Texts = readonly string[];
export type Labels = Readonly<Record<string, string>>;

/** Steps from the root of an object: member names and indexes, as in `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** Where an object was read. */
export interface Origin {
  /** Name of the file, or of the cluster. */
  readonly file: string;
  /** Line on which the object begins, 1-based; 0 where it has none, as in a cluster. */
  readonly line: number;
  /** Template that Helm made it of (`# Source:` before the document). */
  readonly template?: string;
  /** It names no namespace, and is taken to be in `default`. */
  readonly unplaced?: true;
  /**
   * Place of the member at `path`, or of the nearest thing around it that exists. Made on demand: not for hot paths.
   * @param part its key (default: the value); in a list there is only the value
   */
  readonly at: (path: Path, part?: 'key' | 'value') => Place;
}

export interface Metadata {
  readonly name: string;
  /** `default` where a namespaced object names none; empty where the kind has none. */
  readonly namespace: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** RFC 3339. Istio prefers the oldest of conflicting policies. */
  readonly creationTimestamp?: string;
  /** The API server gives it: an object with one is, or was, in a cluster. */
  readonly uid?: string;
}

export interface KubeObject<Kind extends string = string> {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Metadata;
  readonly origin: Origin;
}

/** One whose members are in `spec`. */
export interface SpecObject<Kind extends string, Spec> extends KubeObject<Kind> {
  readonly spec: Spec;
}
