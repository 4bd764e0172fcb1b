/** Describes calls from outside the mesh, and formats them as requests. */

import type { Call } from '../diff/formula/call.ts';
import type { FieldExplanation } from '../diff/formula/explain.ts';
import type { WitnessRequest } from '../exposure/witness.ts';
import { UNKNOWN_PORT } from './router.ts';

/** Describes a set of calls, such as `GET /orders/* of shop.example.com at https:443, with header x-team red`. */
export function describeOutsideCalls(explained: readonly FieldExplanation[]): string {
  const by = new Map(explained.map((one) => [one.field, one]));
  const [method, path, host, listener] = ['method', 'path', 'host', 'listener'].map((field) => by.get(field));
  const calls =
    method || path ? `${method ? values(method) : 'any method'} ${path ? values(path) : 'on any path'}` : 'every call';
  const inputs = explained.flatMap((one) => {
    const [kind, name] = one.field.split(/:(.*)/s);
    return kind === 'header' || kind === 'query' ? [describeInput(one, kind, name ?? '')] : [];
  });
  const within = by.has('private') && values(by.get('private')!) === 'true' ? ['within the private network'] : [];
  const port = by.get('host.port');
  const named = port?.kind === 'flag' ? [`${port.value ? 'with' : 'without'} a port in the Host header`] : [];
  return [
    `${calls}${host ? ` of ${values(host)}` : ''}${listener ? ` at ${values(listener)}` : ''}`,
    ...named,
    ...inputs,
    ...within,
  ].join(', ');
}

function describeInput(one: FieldExplanation, kind: 'header' | 'query', name: string): string {
  const label = `${kind === 'header' ? 'header' : 'query parameter'} ${name}`;
  if (one.kind !== 'text') return label;
  if (one.missing && one.values.length === 0 && !one.except) return `without ${label}`;
  return `with ${label} ${values(one)}${one.missing && !one.except ? ' or without it' : ''}`;
}

const SHOWN = 6;

function values(one: FieldExplanation): string {
  if (one.kind === 'flag') return String(one.value);
  if (one.kind === 'member') return one.value;
  const more = one.values.length > SHOWN ? ` and ${one.values.length - SHOWN} more` : '';
  const list = one.values.slice(0, SHOWN).join(', ') + more;
  if (!one.except) return list;
  return one.values.length === 0 ? 'any' : `any but ${list}`;
}

/**
 * Formats a call as a request. The method of connections that do not use HTTP is `CONNECT`.
 * @param matters the fields that affect the result; if the host is not among them, it is replaced by `HOST`
 */
export function witnessRequest({ texts, flags }: Call, matters: ReadonlySet<string>): WitnessRequest {
  const [protocol = 'http', port] = (texts.get('listener') ?? '').split(':');
  const origin = originOf(protocol, port, (matters.has('host') && texts.get('host')) || 'HOST');
  if (protocol === 'tls' || protocol === 'tcp' || protocol === 'udp')
    return { method: 'CONNECT', url: origin, headers: {} };
  const named = (kind: string) =>
    [...texts].flatMap(([field, value]) =>
      field.startsWith(`${kind}:`) ? [[field.slice(kind.length + 1), value] as const] : [],
    );
  const withPort = flags.has('host.port')
    ? [['host', `${texts.get('host') ?? 'HOST'}:${port === UNKNOWN_PORT ? '443' : port}`]]
    : [];
  const query = named('query').map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  return {
    method: texts.get('method') ?? 'GET',
    url: `${origin}${texts.get('path') ?? '/'}${query.length > 0 ? `?${query.join('&')}` : ''}`,
    headers: Object.fromEntries([...named('header'), ...withPort]),
  };
}

const USUAL_PORTS: Readonly<Record<string, string>> = { http: '80', https: '443' };

function originOf(protocol: string, port: string | undefined, host: string): string {
  const scheme = protocol in USUAL_PORTS || protocol === 'udp' ? protocol : 'tcp';
  const isUsual = port === undefined || port === UNKNOWN_PORT || port === USUAL_PORTS[protocol];
  return `${scheme}://${host}${isUsual ? '' : `:${port}`}`;
}

/** Formats an example request, such as `GET https://shop.example.com/orders with x-team: red`. */
export function formatWitness({ method, url, headers }: WitnessRequest): string {
  const given = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `${method} ${url}${given.length > 0 ? ` with ${given.join(', ')}` : ''}`;
}
