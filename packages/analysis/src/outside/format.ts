import { terminalText } from '@meshpass/identity/text';
import type { OutsideChange } from './compare.ts';
import { formatWitness } from './describe.ts';

/**
 * Formats a change: the calls, the destination, the witness, and what decides in each state.
 * @example
 * ```ts
 * import { compareOutside, formatOutsideChange } from '@meshpass/analysis/diff';
 * import { loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {type: LoadBalancer, selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const after = loadManifests(orders, 'after.yaml').resources;
 * const [change] = compareOutside([], after, { rootNamespace: 'istio-system' }).changes;
 * formatOutsideChange(change!).includes('for example GET http://HOST/'); // => true
 * ```
 */
export function formatOutsideChange({ kind, destination, what, witness, before, after }: OutsideChange): string {
  return terminalText([
    `anyone outside ${kind} ${what}, to ${destination}`,
    `  for example ${formatWitness(witness)}`,
    `  before: ${before.reason}`,
    `  after:  ${after.reason}`,
  ]);
}
