/** Objects that name no namespace: whoever applies them may put them anywhere, so where they are taken to be is said. */
import type { KubeObject } from './object.ts';

const SHOWN = 5;

/**
 * `AuthorizationPolicy open (mesh.yaml:3) names no namespace and is taken to be in default.`; undefined where all name one.
 * @example
 * ```ts
 * import { describeUnplaced, loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const { resources } = loadManifests(`${orders}`, 'mesh.yaml');
 * describeUnplaced(resources); // => undefined
 * ```
 */
export function describeUnplaced(objects: readonly KubeObject[]): string | undefined {
  const names = objects
    .filter(({ origin }) => origin.unplaced)
    .map(({ kind, metadata, origin }) => `${kind} ${metadata.name} (${origin.file}:${origin.line})`);
  if (names.length === 0) return undefined;
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  const verbs = names.length === 1 ? 'names no namespace and is' : 'name no namespace and are';
  // Names are as they were written, and go to a terminal.
  const shown = names
    .slice(0, SHOWN)
    .join(', ')
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ');
  return `${shown}${more} ${verbs} taken to be in default.`;
}
