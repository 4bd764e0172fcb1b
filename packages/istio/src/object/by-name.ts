/**
 * Objects of the cluster in an order that no list of its API server changes: by namespace and name, by code unit. What is compiled of
 * them is hashed.
 */
export function byName(
  a: { readonly name: string; readonly namespace: string },
  b: { readonly name: string; readonly namespace: string },
): number {
  const [left, right] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return left < right ? -1 : left > right ? 1 : 0;
}
