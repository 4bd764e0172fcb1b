/** Takes a call through the hops that it would take, as far as the workspace knows them. Decides nothing that others decide. */
import type { Access } from '@meshpass/access';
import { type ExplainAnswer, servicesAt } from '@meshpass/agent/explain/answer';
import type { RouteAnswer, RouteTarget } from '@meshpass/agent/explain/route';
import { formatSni } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';
import { didYouMean } from '@meshpass/istio';
import { formatWanted, type WantedCall } from './call.ts';
import { type Explanation, type HopLine, verdictOf } from './explanation.ts';
import { judge, withoutClaims } from './judge.ts';
import { rulesHop } from './rules-hop.ts';
import { sessionAccess, UnreadOperation } from './session-access.ts';

export interface ExplainInput {
  readonly call: WantedCall;
  readonly known: ExplainAnswer;
  /** The access file of a checkout, where one was given. */
  readonly access?: Access | undefined;
  /** Whether the system resolves the name, to an address that is not one of Meshpass. */
  readonly resolves: (host: string) => Promise<boolean>;
}

/** @throws MeshpassError `access_*` where the access file cannot be compiled */
export async function explainCall(input: ExplainInput): Promise<Explanation> {
  const { call, known } = input;
  const at = { call, session: known.session.id };
  const held = servicesAt(known.services, call);
  if (held.length === 0) {
    const hops = [await unknownName(input)];
    return { ...at, verdict: verdictOf(hops), hops };
  }
  const service = servingGrant(held, input);
  const { host, port, grant } = service;
  const hops: HopLine[] = [named(service, known), granted(service, held), ...protocolHop(service, call)];
  const rest = hops.some(({ verdict }) => verdict === 'refused') ? [] : routed(service, input);
  hops.push(...rest);
  const verdict = verdictOf(hops);
  return {
    ...{ ...at, verdict, endpoint: `${host}:${port}`, grant, hops },
    ...(verdict !== 'refused' && { beyond: beyond(service, call, known) }),
  };
}

async function unknownName({ call: { host, port }, known, resolves }: ExplainInput): Promise<HopLine> {
  const names = known.services.map((one) => `${one.aliases.at(-1) ?? one.host}:${one.port}`);
  const hop = 'workspace';
  const ports = known.services.filter((one) => servicesAt([one], { host, port: one.port }).length > 0);
  if (ports.length > 0) {
    const others = [...new Set(ports.map((one) => one.port))].join(', ');
    return {
      hop,
      verdict: 'refused',
      reason: `no grant of this session holds port ${port} of ${host}, only ${others}`,
    };
  }
  if (await resolves(host))
    return {
      ...{ hop, verdict: 'unknown' },
      reason: `${host} is no service of this session; the system resolves the name by itself, and where it leads Meshpass does not decide`,
    };
  return {
    ...{ hop, verdict: 'refused' },
    reason: `no grant of this session holds ${host}:${port}${didYouMean(`${host}:${port}`, names)}, so the name does not resolve here`,
  };
}

/** Of several grants that hold the port: the first that allows method and path, else the first; a connection takes the first. */
function servingGrant(held: readonly ReachableService[], { call, known }: ExplainInput): ReachableService {
  const [first] = held;
  if (held.length === 1 || first!.protocol === 'tcp') return first!;
  try {
    const access = withoutClaims(sessionAccess(held));
    return held.find((one) => judge(access, one.grant, one, call, known).allowed === 'yes') ?? first!;
  } catch (error) {
    if (error instanceof UnreadOperation) return first!;
    throw error;
  }
}

function named({ host, port, address }: ReachableService, { listening, byProxyOnly }: ExplainAnswer): HopLine {
  const hop = 'workspace';
  if (address === undefined)
    return { hop, verdict: 'refused', reason: `${host} has no loopback address, so no name leads to it here` };
  if (byProxyOnly.includes(`${address}:${port}`))
    return {
      ...{ hop, verdict: 'allowed' },
      reason: `only the proxy leads to ${host}:${port} (eval "$(meshpass env)"): this user may not listen on port ${port}`,
    };
  return listening.includes(`${address}:${port}`)
    ? { hop, verdict: 'allowed', reason: `${host} is ${address}, where Envoy listens on port ${port}` }
    : { hop, verdict: 'unknown', reason: `Envoy does not listen on ${address}:${port} now: meshpass status tells why` };
}

function granted({ grant }: ReachableService, held: readonly ReachableService[]): HopLine {
  const others = held.filter((one) => one.grant !== grant).map((one) => one.grant);
  const reason = `grant ${grant} serves it${others.length > 0 ? `; also held by ${others.join(', ')}` : ''}`;
  return { hop: 'workspace', verdict: 'allowed', reason };
}

function protocolHop({ protocol, host, port }: ReachableService, call: WantedCall): HopLine[] {
  if (call.protocol === 'http' || protocol === 'tcp') return [];
  const reason = `${host}:${port} is HTTP, where a connection that is none is refused: ask about http://`;
  return [{ hop: 'workspace', verdict: 'refused', reason }];
}

function routed(service: ReachableService, input: ExplainInput): readonly HopLine[] {
  const { call, known } = input;
  const route: RouteAnswer | undefined = known.routes[service.grant];
  const line = (verdict: HopLine['verdict'], said: string): HopLine => {
    const notes = (route?.notes ?? []).map((note) => `; ${note}`).join('');
    return { hop: 'workspace', verdict, reason: `${said}${notes}` };
  };
  const by = route?.rule === undefined ? 'the route' : `VirtualService ${route.rule}`;
  switch (route?.kind) {
    case 'forward':
      return forwarded(service, route, line, by, input);
    case 'answer': {
      if (route.notGranted !== undefined) return [line('refused', `${route.notGranted} [agent_route_not_granted]`)];
      const isRefusal = route.status === 401 || route.status === 403;
      return [line(isRefusal ? 'refused' : 'allowed', `${by} answers ${route.status} itself, nothing is sent`)];
    }
    case 'redirect':
      return [line('allowed', `${by} answers with a redirect, nothing is sent: ask about the URL that it names`)];
    case 'no-route':
      return [line('refused', `no route of the mesh takes ${formatWanted(call)} for this name (404)`)];
    case 'unknown':
      return [line('unknown', route.why)];
    default:
      return [line('unknown', 'the agent has no routes for it')];
  }
}

/** Each destination is judged by its own rules, with the path that a rewrite makes. */
function forwarded(
  service: ReachableService,
  route: Extract<RouteAnswer, { kind: 'forward' }>,
  line: (verdict: HopLine['verdict'], said: string) => HopLine,
  by: string,
  input: ExplainInput,
): readonly HopLine[] {
  const { call, known } = input;
  const shown = route.to.map(formatTarget).join(', ');
  if (route.path === null)
    return [line('unknown', `${by} rewrites the path in a way that is not understood here, to ${shown}`)];
  const rewritten = route.path === undefined ? call : { ...call, path: route.path };
  const rewrite = route.path === undefined ? '' : `, with the path ${route.path}`;
  const hops: HopLine[] = [line('allowed', `${by} leads to ${shown}${rewrite}`)];
  for (const target of distinct(route.to)) {
    const destination = known.services.find(
      ({ grant, host, port }) => grant === service.grant && host === target.host && port === target.port,
    );
    const name = `${target.host}:${target.port}`;
    if (!destination) {
      hops.push({
        hop: 'edge and gateway',
        verdict: 'refused',
        reason: `grant ${service.grant} does not hold ${name}`,
      });
      continue;
    }
    hops.push({ hop: 'edge and gateway', verdict: 'allowed', reason: `${name} is granted, and every subset of it` });
    hops.push(rulesHop(destination, { ...input, call: rewritten }));
  }
  return hops;
}

function distinct(targets: readonly RouteTarget[]): readonly RouteTarget[] {
  return [...new Map(targets.map((one) => [`${one.host}:${one.port}`, one])).values()];
}

function formatTarget({ host, port, subset, weight }: RouteTarget): string {
  return `${host}:${port}${subset ? ` subset ${subset}` : ''}${weight === undefined ? '' : ` (weight ${weight})`}`;
}

/** The command as the platform team can run it: without the server name and the token, Meshpass's own rules would refuse the call. */
function beyond(
  { host, port, grant }: ReachableService,
  call: WantedCall,
  { principals, claims }: ExplainAnswer,
): string {
  const [, , , , namespace = `meshpass-${grant}`, , account = 'ACCOUNT'] = (principals[grant] ?? '').split('/');
  const [service, ns] = host.split('.');
  const token = Object.fromEntries(Object.entries(claims).filter(([name]) => !OF_ONE_TOKEN.includes(name)));
  const http =
    call.protocol === 'tcp'
      ? ' --tcp'
      : ` --method ${call.method} --path ${quoted(call.path.split('?')[0]!)} --claims ${quoted(JSON.stringify(token))}`;
  return (
    'Unknown beyond what Meshpass decides: other AuthorizationPolicies of the mesh may still refuse. For the platform team: ' +
    `meshpass policy can-i --as ${namespace}/${account} --to ${service}.${ns}:${port} --sni ${formatSni({ host, port })}${http} --kubeconfig FILE`
  );
}

/** Claims that say nothing about who calls. */
const OF_ONE_TOKEN: readonly string[] = ['exp', 'iat', 'jti', 'nbf'];

/** For a shell. */
function quoted(text: string): string {
  return /^[A-Za-z0-9/._~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
