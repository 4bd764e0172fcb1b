/** Checks of names: of resources, services and certificates. */
import type { Message } from '@bufbuild/protobuf';
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { RESERVED_GRANTS } from '@meshpass/identity/spiffe';
import type { Expected } from '../configuration.ts';
import { type Check, items } from './rule.ts';

const MAX_NAME = 512;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
/** Of what may stand behind `GRANT/`: printable, without spaces. */
const REST = /^[!-~]+$/;
const SERVICE = new RegExp(`^(?:\\*\\.)?(${LABEL}\\.${LABEL})$`);
const PORT = /:[1-9]\d{0,4}$/;

/** The grant at the beginning of a name; undefined where it is none of the session's. */
export function grantOf(name: string, { grants }: Expected): string | undefined {
  const slash = name.indexOf('/');
  const grant = name.slice(0, slash);
  const known = slash > 0 && grants.includes(grant) && !RESERVED_GRANTS.includes(grant);
  return known && name.length <= MAX_NAME && REST.test(name.slice(slash + 1)) ? grant : undefined;
}

/** A name of the session: `GRANT/REST`. */
export const ownName: Check<string> = (name, { expected }) =>
  expected && grantOf(name, expected) === undefined
    ? `name ${shown(name)} does not begin with a grant of the session`
    : undefined;

/** The name of a cluster to which something leads. It need not exist: Envoy answers 503 then, as in any pod. */
export const clusterName: Check<string> = (name, context) => {
  context.refer('cluster', name);
  return ownName(name, context);
};

/** Filters of these names are the agent's. */
export const filterName: Check<string> = (name) =>
  name.startsWith('meshpass') ? `name ${shown(name)} is reserved for the agent` : undefined;

/** Keys of metadata that istiod writes, and that nothing but selection and naming reads. */
export const metadataKey: Check<string> = (key) =>
  ['istio', 'envoy.transport_socket_match', 'envoy.lb'].includes(key)
    ? undefined
    : `metadata ${shown(key)} is not accepted`;

export const HTTP_PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

export const protocolOptionsKey: Check<string> = (key) =>
  key === HTTP_PROTOCOL_OPTIONS ? undefined : `protocol options ${shown(key)} are not accepted`;

/**
 * A domain of a virtual host: `SERVICE.NAMESPACE.svc.DOMAIN`, its shorter forms beside it, and the names below a headless
 * service. A shorter form alone may be any name of the internet (`example.com`).
 */
export const domain: Check<string> = (value, context) => {
  const { expected, parents } = context;
  if (!expected) return undefined;
  const host = factsOf(parents.at(-1)!, expected);
  // istiod ends route configurations with it.
  if (value === '*') return host.onlyAnswers ? undefined : 'domain "*" may only lead to a fixed answer';
  const service = serviceOf(value, expected);
  const known = service && (service.full || host.services.has(service.name));
  return known ? undefined : `domain ${shown(value)} is no service of the mesh`;
};

interface HostFacts {
  /** `SERVICE.NAMESPACE` of each domain in full form. */
  readonly services: ReadonlySet<string>;
  /** No route leads anywhere. */
  readonly onlyAnswers: boolean;
}

/** Found once for each virtual host: it may have many domains. */
const facts = new WeakMap<Message, HostFacts>();

function factsOf(host: ReflectMessage, expected: Expected): HostFacts {
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

/** `SERVICE.NAMESPACE` of a domain, and whether it is the full form. */
function serviceOf(value: string, { clusterDomain }: Expected): { name: string; full: boolean } | undefined {
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

/** `outbound_.PORT_.SUBSET_.HOST`, as istiod names the services behind the mesh gateway. */
export const serverName: Check<string> = (sni, { expected }) => {
  const found = /^outbound_\.([1-9]\d{0,4})_\.([A-Za-z0-9._-]{0,253})_\.([a-z0-9.-]*[a-z0-9])$/.exec(sni);
  const bad = !found || (expected && !serviceOf(found[3]!, expected)?.full) || sni.includes('*');
  return bad ? `server name ${shown(sni)} is no service of the mesh` : undefined;
};

/** For messages: what a stranger wrote, short and in one line. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}...` : text);
}
