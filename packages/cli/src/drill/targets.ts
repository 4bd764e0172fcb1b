/** Chooses the granted services that a drill calls, using requests that should have no side effects. */
import { MeshpassError } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';

export interface Target {
  readonly service: ReachableService;
  /** The authority of the CONNECT request, in the form `host:port`. */
  readonly authority: string;
  /** The path of a GET request, or undefined if the service does not use HTTP. */
  readonly path?: string;
}

export interface TargetOptions {
  /** The `HOST:PORT` of a granted HTTP service. The host name may be a short name. */
  readonly service?: string | undefined;
  readonly path?: string | undefined;
}

/**
 * Chooses one HTTP service and one TCP service that have running workloads, as far as there are any.
 * @throws MeshpassError `usage` if the selected service is not granted, or if no service can be called
 */
export function chooseTargets(services: readonly ReachableService[], choice: TargetOptions): readonly Target[] {
  const running = services.filter(({ spiffe_ids }) => spiffe_ids.length > 0);
  const named = running.filter(
    ({ host, aliases, port }) =>
      choice.service === undefined || [host, ...aliases].some((name) => `${name}:${port}` === choice.service),
  );
  if (choice.service !== undefined && named.length === 0)
    throw new MeshpassError('usage', `This session has no access to ${choice.service}.`);
  const http = named
    .filter(({ protocol }) => protocol !== 'tcp')
    .flatMap((service) => {
      const path = choice.path ?? harmlessPath(service);
      return path === undefined ? [] : [{ service, authority: authorityOf(service), path }];
    })[0];
  const raw = running.find(({ protocol }) => protocol === 'tcp');
  const tcp = raw && { service: raw, authority: authorityOf(raw) };
  if (!http && !tcp) throw new MeshpassError('usage', 'No service in this session can be called by GET. Pass --path.');
  return [http, tcp].filter((target) => target !== undefined);
}

/** Returns a path that the grant allows for GET requests. Any wildcards are replaced with a fixed word. */
function harmlessPath({ allow }: ReachableService): string | undefined {
  if (allow === undefined) return '/';
  for (const operation of allow) {
    const [method, path, ...demands] = operation.split(' ');
    // Skip operations that require claims, because the drill does not know which claims the session has.
    if (demands.length > 0) continue;
    if ((method === 'GET' || method === '*') && path?.startsWith('/')) return path.replace(/\*+|\{[^}]*\}/g, 'drill');
  }
  return undefined;
}

/** Returns the shortest name of a target, such as `orders.shop:8080`. */
export function shortName({ service }: Target): string {
  const [name] = [...service.aliases, service.host].sort((a, b) => a.length - b.length);
  return `${name}:${service.port}`;
}

function authorityOf({ host, port }: ReachableService): string {
  return `${host}:${port}`;
}
