/** The rules for the names of resources, services and certificates. */
import type { Message } from '@bufbuild/protobuf';
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { RESERVED_GRANTS } from '@meshpass/identity';
import type { ExpectedValues } from '../configuration.ts';
import { type Check, items } from './rule.ts';

const MAX_NAME = 512;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
/** The text after `GRANT/`, which consists of printable characters without spaces. */
const REST = /^[!-~]+$/;
const SERVICE = new RegExp(`^(?:\\*\\.)?(${LABEL}\\.${LABEL})$`);
const PORT = /:[1-9]\d{0,4}$/;

/** Returns the grant at the start of a name, or undefined if the session does not have that grant. */
export function grantFromName(name: string, { grants }: ExpectedValues): string | undefined {
  const slash = name.indexOf('/');
  const grant = name.slice(0, slash);
  const known = slash > 0 && grants.includes(grant) && !RESERVED_GRANTS.includes(grant);
  return known && name.length <= MAX_NAME && REST.test(name.slice(slash + 1)) ? grant : undefined;
}

/** Checks that a name has the form `GRANT/REST` and that the session has the grant. */
export const ownName: Check<string> = (name, { expected }) =>
  expected && grantFromName(name, expected) === undefined
    ? `name ${quoteUntrusted(name)} does not start with one of the session's grants`
    : undefined;

/**
 * Checks that the name of a cluster belongs to the session. The cluster does not have to exist. If it does not, Envoy
 * responds with status 503, just like in any Pod.
 */
export const clusterName: Check<string> = (name, context) => {
  context.refer('cluster', name);
  return ownName(name, context);
};

/** Rejects filter names that are reserved for the agent. */
export const filterName: Check<string> = (name) =>
  name.startsWith('meshpass') ? `name ${quoteUntrusted(name)} is reserved for the agent` : undefined;

/** Accepts those of istiod's metadata keys that only affect selection and naming. */
export const metadataKey: Check<string> = (key) =>
  ['istio', 'envoy.transport_socket_match', 'envoy.lb'].includes(key)
    ? undefined
    : `metadata ${quoteUntrusted(key)} is not accepted`;

export const HTTP_PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** Checks that a key is that of HttpProtocolOptions. No other protocol options are accepted. */
export const protocolOptionsKey: Check<string> = (key) =>
  key === HTTP_PROTOCOL_OPTIONS ? undefined : `protocol options ${quoteUntrusted(key)} are not accepted`;

/**
 * Checks that a virtual host's domain is in the mesh. It can be `SERVICE.NAMESPACE.svc.DOMAIN`, a name below a headless
 * service, or a shorter form of either. A shorter form is only accepted if the full form is also listed, because on its
 * own it could be any name on the internet (`example.com`).
 */
export const domain: Check<string> = (value, context) => {
  const { expected, parents } = context;
  if (!expected) return undefined;
  const host = factsOf(parents.at(-1)!, expected);
  // istiod adds this domain to every route configuration.
  if (value === '*') return host.onlyAnswers ? undefined : 'domain "*" may only lead to a direct response';
  const service = serviceOf(value, expected);
  const known = service && (service.full || host.services.has(service.name));
  return known ? undefined : `domain ${quoteUntrusted(value)} is not a service in the mesh`;
};

interface HostFacts {
  /** The `SERVICE.NAMESPACE` of every domain that has the full form. */
  readonly services: ReadonlySet<string>;
  /** Whether all routes are direct responses. */
  readonly onlyAnswers: boolean;
}

/** The facts about each virtual host. They are cached because a virtual host can have many domains. */
const facts = new WeakMap<Message, HostFacts>();

function factsOf(host: ReflectMessage, expected: ExpectedValues): HostFacts {
  const known = facts.get(host.message);
  if (known) return known;
  const services = items<string>(host, 'domains').flatMap((value) => {
    const service = serviceOf(value, expected);
    return service?.full ? service.name : [];
  });
  const actions = items(host, 'routes').map((route) => route.oneofCase(oneof(route, 'action'))?.name);
  const found = { services: new Set(services), onlyAnswers: actions.every((action) => action === 'direct_response') };
  facts.set(host.message, found);
  return found;
}

/** Returns the `SERVICE.NAMESPACE` of a domain, and whether the domain has the full form. */
function serviceOf(value: string, { clusterDomain }: ExpectedValues): { name: string; full: boolean } | undefined {
  const host = value.replace(PORT, '').replace(/\.$/, '');
  const suffix = `.svc.${clusterDomain}`;
  const full = host.endsWith(suffix);
  const short = full ? host.slice(0, -suffix.length) : host.replace(/\.svc$/, '');
  const name = SERVICE.exec(short)?.[1];
  return name === undefined ? undefined : { name, full };
}

function oneof(message: ReflectMessage, name: string) {
  return message.desc.oneofs.find((one) => one.name === name)!;
}

/**
 * Checks that a server name has the form `outbound_.PORT_.SUBSET_.HOST`, which istiod uses for services behind the mesh
 * gateway.
 */
export const serverName: Check<string> = (sni, { expected }) => {
  const found = /^outbound_\.([1-9]\d{0,4})_\.([A-Za-z0-9._-]{0,253})_\.([a-z0-9.-]*[a-z0-9])$/.exec(sni);
  const bad = !found || (expected && !serviceOf(found[3]!, expected)?.full) || sni.includes('*');
  return bad ? `server name ${quoteUntrusted(sni)} is not a service in the mesh` : undefined;
};

/** Quotes untrusted text for use in a message. The result is truncated and fits on one line. */
export function quoteUntrusted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}...` : text);
}
