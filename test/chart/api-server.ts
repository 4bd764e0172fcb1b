/** Objects of the chart on the API server of a lab, sent as Helm sends them: server-side apply, with no field that it does not know. */
import type { Lab } from '@meshpass/lab';
import type { Rendered } from './helm.ts';

export interface ApiServer {
  /** Whether it serves the kind. */
  knows(object: Rendered): Promise<boolean>;
  /** @throws Error with the API server's message */
  send(object: Rendered, dryRun: boolean): Promise<unknown>;
}

interface Resource {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export function apiServerOf({ kubernetes }: Lab): ApiServer {
  const served = new Map<string, Promise<readonly Resource[]>>();

  /** Path of the collection to which it belongs; undefined if the API server has none. */
  const collectionOf = async ({ apiVersion, kind, metadata }: Rendered): Promise<string | undefined> => {
    const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const resources =
      served.get(base) ??
      kubernetes.call('GET', base).then(
        (answer) => (answer as { resources: Resource[] }).resources,
        () => [],
      );
    served.set(base, resources);
    const found = (await resources).find((one) => one.kind === kind && !one.name.includes('/'));
    return found && `${base}${found.namespaced ? `/namespaces/${metadata.namespace}` : ''}/${found.name}`;
  };

  return {
    knows: async (object) => (await collectionOf(object)) !== undefined,
    send: async (given, dryRun) => {
      // Of a Pod the class must be there.
      const object = given.kind === 'Pod' ? { ...given, spec: { ...given.spec, priorityClassName: undefined } } : given;
      const collection = (await collectionOf(object))!;
      const query = `fieldManager=helm&fieldValidation=Strict${dryRun ? '&dryRun=All' : ''}`;
      if (object.metadata.generateName !== undefined)
        return await kubernetes.call('POST', `${collection}?${query}`, object);
      const path = `${collection}/${object.metadata.name}?${query}&force=true`;
      return await kubernetes.call('PATCH', path, object, 'application/apply-patch+yaml');
    },
  };
}
