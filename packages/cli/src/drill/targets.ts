/** Which granted services a drill calls, and how: with requests that change nothing. */
import { MeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';

export interface Target {
  readonly service: ReachableService;
  /** `host:port`, as CONNECT has it. */
  readonly authority: string;
  /** Path of a GET; undefined for services that do not speak HTTP. */
  readonly path?: string;
}

export interface TargetChoice {
  /** `HOST:PORT` of a granted HTTP service, short names too. */
  readonly service?: string | undefined;
  readonly path?: string | undefined;
}

/**
 * One HTTP and one TCP service, among those that have a workload now.
 * @throws MeshpassError `usage` where the named one is not granted, or none can be called
 */
export function chooseTargets(services: readonly ReachableService[], choice: TargetChoice) {
  const running = services.filter(({ spiffe_ids }) => spiffe_ids.length > 0);
  const named = running.filter(
    ({ host, aliases, port }) =>
      choice.service === undefined || [host, ...aliases].some((name) => `${name}:${port}` === choice.service),
  );
  if (choice.service !== undefined && named.length === 0)
    throw new MeshpassError('usage', `${choice.service} is not among what this session may reach.`);
  const http = named
    .filter(({ protocol }) => protocol !== 'tcp')
    .flatMap((service) => {
      const path = choice.path ?? harmlessPath(service);
      return path === undefined ? [] : [{ service, authority: authorityOf(service), path }];
    })[0];
  const raw = running.find(({ protocol }) => protocol === 'tcp');
  const tcp = raw && { service: raw, authority: authorityOf(raw) };
  if (!http && !tcp)
    throw new MeshpassError('usage', 'The session reaches nothing that can be called with a GET: name --path.');
  return { http, tcp } satisfies { http: Target | undefined; tcp: Target | undefined };
}

/** A path that a GET may request; wildcards are replaced by a fixed word. */
function harmlessPath({ allow }: ReachableService): string | undefined {
  if (allow === undefined) return '/';
  for (const operation of allow) {
    const [method, path, ...demands] = operation.split(' ');
    // Whether this session has a required claim is not known here.
    if (demands.length > 0) continue;
    if ((method === 'GET' || method === '*') && path?.startsWith('/')) return path.replace(/\*+|\{[^}]*\}/g, 'drill');
  }
  return undefined;
}

/** The short name: `orders.shop:8080`. */
export function shortName({ service }: Target): string {
  const [name] = [...service.aliases, service.host].sort((a, b) => a.length - b.length);
  return `${name}:${service.port}`;
}

function authorityOf({ host, port }: ReachableService): string {
  return `${host}:${port}`;
}
