/** Stores Envoy's resources by type and name, and notifies subscribers of changes. */
import type { Any } from '@bufbuild/protobuf/wkt';
import type { Resource, ResourceSource } from './discovery.ts';

export class ResourceStore implements ResourceSource {
  readonly #types = new Map<string, ReadonlyMap<string, Resource>>();
  readonly #waiting = new Set<() => void>();
  #versions = 0;

  /** Returns the resources of a type. Undefined until they are first set, so that Envoy waits. */
  resources(type: string): ReadonlyMap<string, Resource> | undefined {
    return this.#types.get(type);
  }

  subscribe(changed: () => void): () => void {
    this.#waiting.add(changed);
    return () => this.#waiting.delete(changed);
  }

  /** Replaces all resources of the given types at once. Unchanged resources keep their version. */
  set(types: Readonly<Record<string, ReadonlyMap<string, Any>>>): void {
    for (const [type, resources] of Object.entries(types)) {
      const before = this.#types.get(type);
      const after = new Map<string, Resource>();
      for (const [name, any] of resources) {
        const known = before?.get(name);
        const isSame = known !== undefined && Buffer.compare(known.any.value, any.value) === 0;
        after.set(name, isSame ? known : { any, version: this.#newVersion() });
      }
      this.#types.set(type, after);
    }
    this.#wake();
  }

  /** Resends all resources of a type. Envoy keeps the ones in use and retries the ones that failed. */
  offerAgain(type: string): void {
    const resources = [...(this.#types.get(type) ?? [])];
    this.#types.set(type, new Map(resources.map(([name, { any }]) => [name, { any, version: this.#newVersion() }])));
    this.#wake();
  }

  /** Wakes all streams. Each sends only what changed. */
  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #newVersion(): string {
    this.#versions += 1;
    return String(this.#versions);
  }
}
