/**
 * Warns about objects without a namespace. They could be applied to any namespace, so the warning says which one is
 * assumed.
 */
import type { KubeObject } from './object.ts';

const SHOWN = 5;

/**
 * Formats the warning `AuthorizationPolicy open (mesh.yaml:3) has no namespace and is assumed to be in default.`
 * Returns undefined if every object has a namespace.
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
  const unplaced = objects.filter(({ origin }) => origin.unplaced);
  if (unplaced.length === 0) return undefined;
  const verbs = unplaced.length === 1 ? 'has no namespace and is' : 'have no namespace and are';
  // Each line is computed by parsing the text again, so only the lines that are shown are computed.
  const names = unplaced
    .slice(0, SHOWN)
    .map(({ kind, metadata, origin }) => `${kind} ${metadata.name} (${origin.file}:${origin.line})`);
  const more = unplaced.length > SHOWN ? ` and ${unplaced.length - SHOWN} more` : '';
  // Names are not validated, and they may be printed to a terminal.
  const shown = `${names.join(', ')}${more}`.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ');
  return `${shown} ${verbs} assumed to be in default.`;
}
