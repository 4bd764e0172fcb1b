/** Which rule: grants by name, each with the place in the access file that gives it. */
import type { MeshState } from '../../reconcile/contract.ts';

/** @returns for `payments-dev,ops` something like `payments-dev access.yaml:12:3, ops access.yaml:30:3` */
export function namedRules(mesh: Pick<MeshState, 'access' | 'inForce'>): (grants: string) => string | undefined {
  return (grants) => {
    if (!mesh.inForce()) return undefined;
    const { grants: all } = mesh.access();
    const named = grants.split(',').flatMap((name) => {
      const place = all.find((grant) => grant.name === name)?.place;
      return place ? [`${name} ${place.file}:${place.line}:${place.column}`] : [];
    });
    return named.length === 0 ? undefined : named.join(', ');
  };
}
