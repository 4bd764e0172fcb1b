/** Resources that Envoy may ask for, by type and name, and those who wait for changes. */
import type { Any } from '@bufbuild/protobuf/wkt';
import type { Resource, ResourceSource } from './discovery.ts';

export class ResourceStore implements ResourceSource {
  readonly #types = new Map<string, ReadonlyMap<string, Resource>>();
  readonly #waiting = new Set<() => void>();
  #versions = 0;

  /** Undefined while nothing of that type has been set: Envoy then waits. */
  resources(type: string): ReadonlyMap<string, Resource> | undefined {
    return this.#types.get(type);
  }

  subscribe(changed: () => void): () => void {
    this.#waiting.add(changed);
    return () => this.#waiting.delete(changed);
  }

  /** Replaces all of these types at once. What is the same as before keeps its version. */
  set(types: Readonly<Record<string, ReadonlyMap<string, Any>>>): void {
    for (const [type, resources] of Object.entries(types)) {
      const before = this.#types.get(type);
      const after = new Map<string, Resource>();
      for (const [name, any] of resources) {
        const known = before?.get(name);
        const isSame = known !== undefined && Buffer.compare(known.any.value, any.value) === 0;
        after.set(name, isSame ? known : { any, version: String(++this.#versions) });
      }
      this.#types.set(type, after);
    }
    // A stream sends only what differs from what it has sent.
    for (const wake of this.#waiting) wake();
  }
}
