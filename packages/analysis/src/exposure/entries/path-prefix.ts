import type { StringMatch } from '@meshpass/istio';

/**
 * Translates a path prefix that matches whole segments, as in the Gateway API and Ingress, to matches of Istio, whose
 * prefix matches text: `/a` matches `/a` and `/a/b`, but not `/ab`. Returns none for `/`,
 * which matches every path.
 */
export function segmentPrefix(prefix: string): readonly StringMatch[] {
  const bare = prefix.replace(/\/+$/, '');
  return bare === '' ? [] : [{ exact: bare }, { prefix: `${bare}/` }];
}
