/** Random routes of three kinds over few words, so that they overlap; and what each makes of a request, read directly. */
import { loadManifests, type Resource } from '@meshpass/istio';
import { pick, type Random } from '../diff/random-policies.ts';

export interface Request {
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
}

const HOSTS = ['a.example.com', 'b.example.com', '*.example.com', '*'];
const PATHS = ['/', '/a', '/a/b', '/ab', '/a/', '/c'];
const REGEXES = ['/a.*', '/[a-c]', '/(a|c)/b?', '/ab?/.+'];
const METHODS = ['GET', 'POST'];
const SERVICES = ['orders', 'payments', undefined];

/** State of one kind, with the service that a request reaches. */
export interface RandomState {
  readonly resources: readonly Resource[];
  readonly serve: (request: Request) => string | undefined;
}

export function randomRequest(random: Random): Request {
  const path = pick(random, ['/', '/a', '/a/b', '/ab', '/a/', '/c', '/a/b/c', '/abc', '/x', '/ab/x', '/c/', '/c/b']);
  const host = pick(random, ['a.example.com', 'b.example.com', 'c.example.com', 'x.a.example.com', 'other.test']);
  const headers: Request['headers'] = random() < 0.5 ? {} : { 'x-team': pick(random, ['red', 'blue']) };
  return { host, path, method: pick(random, ['GET', 'POST', 'PUT']), headers };
}

interface Rule {
  readonly type: 'exact' | 'prefix' | 'segments' | 'regex';
  readonly path: string;
  readonly method: string | undefined;
  readonly team: string | undefined;
  /** Undefined for a redirect. */
  readonly service: string | undefined;
}

function randomRules(random: Random, types: readonly Rule['type'][]): readonly Rule[] {
  return Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
    const type = pick(random, types);
    return {
      type,
      path: pick(random, type === 'regex' ? REGEXES : PATHS),
      method: random() < 0.3 ? pick(random, METHODS) : undefined,
      team: random() < 0.3 ? pick(random, ['red', 'blue']) : undefined,
      service: pick(random, SERVICES),
    };
  });
}

function matches({ type, path, method, team }: Rule, request: Request): boolean {
  if (method !== undefined && request.method !== method) return false;
  if (team !== undefined && request.headers['x-team'] !== team) return false;
  if (type === 'exact') return request.path === path;
  if (type === 'prefix') return request.path.startsWith(path);
  if (type === 'regex') return new RegExp(`^(?:${path})$`).test(request.path);
  const wanted = path.split('/').filter((one) => one !== '');
  const given = request.path.split('/').slice(1);
  return wanted.every((one, index) => given[index] === one);
}

/** Calls go to the rules of the most specific host alone. */
function byHost(routes: readonly (readonly [string, readonly Rule[]])[], host: string): readonly Rule[] {
  const covers = (one: string) =>
    one === '*' || one === host || (one.startsWith('*') && host.length >= one.length && host.endsWith(one.slice(1)));
  const length = (one: string) => (one.startsWith('*') ? one.length - 1 : 1_000);
  const [best] = routes.filter(([one]) => covers(one)).sort(([a], [b]) => length(b) - length(a));
  return best ? routes.filter(([one]) => one === best[0]).flatMap(([, rules]) => rules) : [];
}

function randomHosts(random: Random): readonly string[] {
  return HOSTS.filter(() => random() < 0.5);
}

function object(apiVersion: string, kind: string, name: string, spec: object): Resource {
  const text = JSON.stringify({ apiVersion, kind, metadata: { name, namespace: 'shop' }, spec });
  return loadManifests(text, `${kind}.yaml`).resources[0]!;
}

export function randomVirtualServices(random: Random): RandomState {
  const routes = randomHosts(random).map(
    (host) => [host, randomRules(random, ['exact', 'prefix', 'prefix', 'regex'])] as const,
  );
  const resources = routes.map(([host, rules], index) =>
    object('networking.istio.io/v1', 'VirtualService', `route-${index}`, {
      hosts: [host],
      gateways: ['public'],
      http: rules.map(({ type, path, method, team, service }) => ({
        match: [
          {
            uri: { [type]: path },
            ...(method && { method: { exact: method } }),
            ...(team && { headers: { 'x-team': { exact: team } } }),
          },
        ],
        ...(service
          ? { route: [{ destination: { host: service, port: { number: 80 } } }] }
          : { redirect: { uri: '/elsewhere' } }),
      })),
    }),
  );
  const gateway = object('networking.istio.io/v1', 'Gateway', 'public', {
    selector: { istio: 'ingressgateway' },
    servers: [{ port: { number: 80, name: 'http', protocol: 'HTTP' }, hosts: ['*'] }],
  });
  return {
    resources: [gateway, ...resources],
    serve: (request) => byHost(routes, request.host).find((rule) => matches(rule, request))?.service,
  };
}

const PRECEDENCE = { exact: 2, segments: 1, prefix: 1, regex: 0 } as const;

export function randomHttpRoutes(random: Random): RandomState {
  const routes = randomHosts(random).map(
    (host) => [host, randomRules(random, ['exact', 'segments', 'segments', 'regex'])] as const,
  );
  const types = { exact: 'Exact', segments: 'PathPrefix', prefix: 'PathPrefix', regex: 'RegularExpression' } as const;
  const resources = routes.map(([host, rules], index) =>
    object('gateway.networking.k8s.io/v1', 'HTTPRoute', `route-${index}`, {
      parentRefs: [{ name: 'public' }],
      ...(host !== '*' && { hostnames: [host] }),
      rules: rules.map(({ type, path, method, team, service }) => ({
        matches: [
          {
            path: { type: types[type], value: path },
            ...(method && { method }),
            ...(team && { headers: [{ name: 'X-Team', value: team }] }),
          },
        ],
        ...(service
          ? { backendRefs: [{ name: service, port: 80 }] }
          : { filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'elsewhere.example.com' } }] }),
      })),
    }),
  );
  const gateway = object('gateway.networking.k8s.io/v1', 'Gateway', 'public', {
    gatewayClassName: 'istio',
    listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }],
  });
  const length = ({ type, path }: Rule) => (type === 'segments' ? path.replace(/(?<=.)\/$/, '') : path).length;
  return {
    resources: [gateway, ...resources],
    serve: (request) =>
      byHost(routes, request.host)
        .filter((rule) => matches(rule, request))
        .sort(
          (a, b) =>
            PRECEDENCE[b.type] - PRECEDENCE[a.type] ||
            length(b) - length(a) ||
            Number(b.method !== undefined) - Number(a.method !== undefined) ||
            Number(b.team !== undefined) - Number(a.team !== undefined),
        )[0]?.service,
  };
}

export function randomIngresses(random: Random): RandomState {
  const routes = randomHosts(random)
    .filter((host) => host !== '*.example.com')
    .map(
      (host) =>
        [
          host,
          randomRules(random, ['exact', 'segments']).map((rule) => ({
            ...rule,
            method: undefined,
            team: undefined,
            service: rule.service ?? 'orders',
          })),
        ] as const,
    );
  const ingress = object('networking.k8s.io/v1', 'Ingress', 'shop', {
    ingressClassName: 'nginx',
    rules: routes.map(([host, rules]) => ({
      ...(host !== '*' && { host }),
      http: {
        paths: rules.map(({ type, path, service }) => ({
          path,
          pathType: type === 'exact' ? 'Exact' : 'Prefix',
          backend: { service: { name: service, port: { number: 80 } } },
        })),
      },
    })),
  });
  const length = ({ path }: Rule) => path.replace(/(?<=.)\/$/, '').length;
  return {
    resources: [ingress],
    serve: (request) =>
      byHost(routes, request.host)
        .filter((rule) => matches(rule, request))
        .sort((a, b) => PRECEDENCE[b.type] - PRECEDENCE[a.type] || length(b) - length(a))[0]?.service,
  };
}
