/**
 * Explains a call hop by hop, as far as the hops are known in the workspace. It only reports the decisions of other
 * components.
 */
import { type Access, formatOperation, formatPlace, type GrantTarget, matchesGlob } from '@meshpass/access/compile';
import { type ExplainResponse, servicesAt } from '@meshpass/agent/explain/answer';
import type { RouteAnswer, RouteTarget } from '@meshpass/agent/explain/route';
import { normalizePath, templateTest } from '@meshpass/analysis/evaluate';
import { formatSni } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import { didYouMean, isTemplate } from '@meshpass/istio';
import { quoteShellWord } from '../diagnosis/shell-word.ts';
import { formatWantedCall, type WantedCall } from './call.ts';
import {
  evaluateForCaller,
  findTargets,
  sessionAccess,
  UnknownOperationError,
  withoutClaims,
} from './evaluate-for-caller.ts';

type Verdict = 'allowed' | 'refused' | 'unknown';

/** Describes what a single hop does with the call. */
interface Hop {
  readonly hop: 'workspace' | 'edge and gateway' | 'workload';
  readonly verdict: Verdict;
  readonly reason: string;
  /** The file and line that decide, such as `access.yaml:12`. */
  readonly place?: string;
}

/** The result of `meshpass explain`. */
export interface Explanation {
  readonly verdict: Verdict;
  readonly call: WantedCall;
  /** The session ID, which users can give to the platform team. */
  readonly session: string;
  /** The contact for access requests. Absent if the access file does not define one. */
  readonly contact?: string | undefined;
  /** The full name and port of the destination service. Absent if they are unknown. */
  readonly endpoint?: string;
  /** The grant that serves the call. */
  readonly grant?: string;
  readonly hops: readonly Hop[];
  /**
   * Describes what cannot be determined in a workspace, and how to find out. Absent if it would not change the verdict.
   */
  readonly beyond?: string;
}

interface ExplainInput {
  readonly call: WantedCall;
  readonly known: ExplainResponse;
  /** The access file from a local checkout, if one was given. */
  readonly access?: Access | undefined;
  /** Whether the system resolves the name to an address outside of Meshpass. */
  readonly resolves: (host: string) => Promise<boolean>;
}

/**
 * Explains whether a call would be allowed, with a finding for each hop.
 * @throws MeshpassError `access_*` if the access file cannot be compiled
 */
export async function explainCall(input: ExplainInput): Promise<Explanation> {
  const { call, known } = input;
  const at = { call, session: known.session.id, contact: known.contact };
  const held = servicesAt(known.services, call);
  if (held.length === 0) {
    const hops = [await unknownName(input)];
    return { ...at, verdict: verdictOf(hops), hops };
  }
  const service = servingGrant(held, input);
  const { host, port, grant } = service;
  const hops: Hop[] = [named(service, known), granted(service, held), ...protocolHop(service, call)];
  const rest = verdictOf(hops) === 'refused' ? [] : routed(service, input);
  hops.push(...rest);
  const verdict = verdictOf(hops);
  return {
    ...at,
    verdict,
    endpoint: `${host}:${port}`,
    grant,
    hops,
    ...(verdict !== 'refused' && { beyond: beyond(service, call, known) }),
  };
}

async function unknownName({ call: { host, port }, known, resolves }: ExplainInput): Promise<Hop> {
  const names = known.services.map((one) => `${one.aliases.at(-1) ?? one.host}:${one.port}`);
  const ports = known.services.filter((one) => servicesAt([one], { host, port: one.port }).length > 0);
  if (ports.length > 0) {
    const others = [...new Set(ports.map((one) => one.port))].join(', ');
    return hop('workspace', 'refused', `no grant in this session contains port ${port} of ${host}, only ${others}`);
  }
  if (await resolves(host))
    return hop(
      'workspace',
      'unknown',
      `${host} is not a service in this session; the system resolves the name, and Meshpass does not control the call`,
    );
  return hop(
    'workspace',
    'refused',
    `no grant in this session contains ${host}:${port}${didYouMean(`${host}:${port}`, names)}, so the name does not resolve here`,
  );
}

/**
 * Chooses between the grants that contain this port. It returns the first grant that allows the method and path. For
 * TCP connections, or if no grant allows them, it returns the first grant.
 */
function servingGrant(held: readonly ReachableService[], { call, known }: ExplainInput): ReachableService {
  const [first] = held;
  if (held.length === 1 || first!.protocol === 'tcp') return first!;
  try {
    const access = withoutClaims(sessionAccess(held));
    return held.find((one) => evaluateForCaller(access, one.grant, one, call, known).allowed === 'yes') ?? first!;
  } catch (error) {
    if (error instanceof UnknownOperationError) return first!;
    throw error;
  }
}

function named({ host, port, address }: ReachableService, { listening, byProxyOnly }: ExplainResponse): Hop {
  if (address === undefined)
    return hop('workspace', 'refused', `${host} has no loopback address, so its name does not resolve here`);
  if (byProxyOnly.includes(`${address}:${port}`))
    return hop(
      'workspace',
      'allowed',
      `${host}:${port} is reachable only through the proxy (eval "$(meshpass env)"): this user cannot listen on port ${port}`,
    );
  return listening.includes(`${address}:${port}`)
    ? hop('workspace', 'allowed', `${host} is ${address}, and Envoy listens there on port ${port}`)
    : hop('workspace', 'unknown', `Envoy is not listening on ${address}:${port}: meshpass status shows the reason`);
}

function granted({ grant }: ReachableService, held: readonly ReachableService[]): Hop {
  const others = held.filter((one) => one.grant !== grant).map((one) => one.grant);
  const more = others.length > 0 ? `; also in ${others.join(', ')}` : '';
  return hop('workspace', 'allowed', `grant ${grant} serves it${more}`);
}

function protocolHop({ protocol, host, port }: ReachableService, call: WantedCall): Hop[] {
  if (call.protocol === 'http' || protocol === 'tcp') return [];
  const reason = `${host}:${port} is HTTP and refuses other connections: explain http:// instead`;
  return [hop('workspace', 'refused', reason)];
}

function routed(service: ReachableService, input: ExplainInput): readonly Hop[] {
  const { call, known } = input;
  const route: RouteAnswer | undefined = known.routes[service.grant];
  const line = (verdict: Verdict, said: string): Hop => {
    const notes = (route?.notes ?? []).map((note) => `; ${note}`).join('');
    return hop('workspace', verdict, `${said}${notes}`);
  };
  const by = route?.rule === undefined ? 'the route' : `VirtualService ${route.rule}`;
  switch (route?.kind) {
    case 'forward':
      return forwarded(service, route, line, by, input);
    case 'answer': {
      if (route.refusal) {
        const { code, description } = route.refusal;
        const from =
          route.rule === undefined || description.includes(route.rule) ? '' : `VirtualService ${route.rule}: `;
        return [line('refused', `${from}${description} [${code}]`)];
      }
      const isRefusal = route.status === 401 || route.status === 403;
      return [line(isRefusal ? 'refused' : 'allowed', `${by} responds with ${route.status} itself; nothing is sent`)];
    }
    case 'redirect':
      return [line('allowed', `${by} responds with a redirect; nothing is sent: explain the redirect's URL`)];
    case 'no-route':
      return [line('refused', `no route in the mesh matches ${formatWantedCall(call)} for this name (404)`)];
    case 'unknown':
      return [line('unknown', route.why)];
    default:
      return [line('unknown', 'the agent has no routes for it')];
  }
}

const NO_ENDPOINT =
  'no Pod behind it accepts the mutual TLS of a sidecar, and the broker omits other Pods, such as those in ambient mode';

/** Evaluates each destination of a route against the destination's own rules, using the rewritten path. */
function forwarded(
  service: ReachableService,
  route: Extract<RouteAnswer, { kind: 'forward' }>,
  line: (verdict: Verdict, said: string) => Hop,
  by: string,
  input: ExplainInput,
): readonly Hop[] {
  const { call, known } = input;
  const shown = route.to.map(formatTarget).join(', ');
  if (route.path === null)
    return [line('unknown', `${by} rewrites the path in a way that cannot be evaluated here, to ${shown}`)];
  const rewritten = route.path === undefined ? call : { ...call, path: route.path };
  const rewrite = route.path === undefined ? '' : `, with the path ${route.path}`;
  const hops: Hop[] = [line('allowed', `${by} forwards to ${shown}${rewrite}`)];
  for (const target of distinct(route.to)) {
    const destination = known.services.find(
      ({ grant, host, port }) => grant === service.grant && host === target.host && port === target.port,
    );
    const name = `${target.host}:${target.port}`;
    if (!destination) {
      hops.push(hop('edge and gateway', 'refused', `grant ${service.grant} does not contain ${name}`));
      continue;
    }
    if (target.hasNoEndpoint) {
      hops.push(hop('workspace', 'refused', `Envoy has no endpoint for ${name} (503): ${NO_ENDPOINT}`));
      continue;
    }
    hops.push(hop('edge and gateway', 'allowed', `${name} is granted, and every subset of it`));
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

/**
 * Returns a `meshpass policy can-i` command for the platform team. It includes the server name and the token claims,
 * because Meshpass's own rules would refuse the call without them.
 */
function beyond(
  { host, port, grant }: ReachableService,
  call: WantedCall,
  { principals, claims }: ExplainResponse,
): string {
  const [, , , , namespace = `meshpass-${grant}`, , account = 'ACCOUNT'] = (principals[grant] ?? '').split('/');
  const [service, ns] = host.split('.');
  const token = Object.fromEntries(Object.entries(claims).filter(([name]) => !OF_ONE_TOKEN.includes(name)));
  const http =
    call.protocol === 'tcp'
      ? ' --tcp'
      : ` --method ${call.method} --path ${quoteShellWord(call.path.split('?')[0]!)} --claims ${quoteShellWord(JSON.stringify(token))}`;
  return (
    'Unknown beyond what Meshpass decides: other AuthorizationPolicies in the mesh may still deny the call. For the platform team: ' +
    `meshpass policy can-i --as ${namespace}/${account} --to ${service}.${ns}:${port} --sni ${formatSni({ host, port })}${http} --kubeconfig FILE`
  );
}

/** The claims that differ between tokens and do not identify the caller. */
const OF_ONE_TOKEN: readonly string[] = ['exp', 'iat', 'jti', 'nbf'];

/**
 * Evaluates the last hop that Meshpass controls: the guard and the rules at the workload. They are those of the access
 * file, to whose line the hop then refers, or those in the broker's answer for the session if no file is given.
 * @throws MeshpassError `access_*` if the grant cannot be compiled
 */
function rulesHop(to: ReachableService, { call, known, access }: ExplainInput): Hop {
  const { grant } = to;
  try {
    const used = access ?? sessionAccess([to]);
    const entry = used.grants.find(({ name }) => name === grant);
    const [target, ...others] = entry ? findTargets(entry, to) : [];
    if (!entry || !target) return notInFile(to, used, entry !== undefined);
    const { allowed, answers } = evaluateForCaller(used, grant, to, call, known);
    const place = access && formatPlace(target.place);
    const more = others.length > 0 ? ' (first of several entries)' : '';
    const said = (verdict: Verdict, reason: string) => hop('workload', verdict, reason, place);
    if (allowed === 'yes') return said('allowed', `${whyAllowed(call, target, grant)}${more}`);
    const [answer] = answers;
    if (allowed !== 'no') return said('unknown', answer?.unknown ?? 'its workloads differ');
    return said('refused', `${whyRefused(call, target, to, known)}${more}`);
  } catch (error) {
    if (!(error instanceof UnknownOperationError)) throw error;
    return hop('workload', 'unknown', `${JSON.stringify(error.message)} of grant ${grant} cannot be evaluated here`);
  }
}

function notInFile({ host, port, grant }: ReachableService, { file }: Access, hasGrant: boolean): Hop {
  const reason = hasGrant
    ? `grant ${grant} of ${file} does not list ${host}:${port}: an entry that selects by label or pattern may contain it, which only the mesh knows`
    : `${file} has no grant ${grant}, so it is not the file in effect`;
  return hop('workload', 'unknown', reason);
}

function whyAllowed(call: WantedCall, { allow, require }: GrantTarget, grant: string): string {
  if (!allow) return `grant ${grant} allows the whole port${require ? ", with your token's claims" : ''}`;
  const operation = allow.find((one) => meets(one, call));
  return `grant ${grant} allows ${formatWantedCall(call)}${operation ? ` by ${formatOperation(operation)}` : ''}`;
}

function whyRefused(
  call: WantedCall,
  target: GrantTarget,
  { grant, allow: told }: ReachableService,
  known: ExplainResponse,
): string {
  const what = formatWantedCall(call);
  const denied = target.deny?.find((one) => meets(one, call));
  if (denied) return `grant ${grant} denies ${formatOperation(denied)}`;
  const operation = target.allow?.find((one) => meets(one, call));
  const demands = { ...target.require, ...operation?.require };
  if ((operation || !target.allow) && Object.keys(demands).length > 0) {
    const wanted = Object.entries(demands).map(([name, values]) => `${name} ${values.join(' or ')}`);
    const read = typeof known.claims.iss === 'string' ? 'your token does not have them' : 'your token cannot be read';
    return `grant ${grant} allows ${what} only with ${wanted.join(' and ')}, and ${read}`;
  }
  const listed = told ?? target.allow?.map(formatOperation) ?? [];
  const shown = listed.slice(0, SHOWN).join(', ');
  const rest = listed.length > SHOWN ? ` and ${listed.length - SHOWN} more` : '';
  return `grant ${grant} does not allow ${what}, only: ${shown}${rest}`;
}

const SHOWN = 10;

/**
 * Whether an operation in the access file covers the call. `explain` uses this to describe the evaluator's decision,
 * and `--patch` uses it to refuse calls that the file denies or requires claims for.
 */
export function meets({ method, path }: { readonly method: string; readonly path: string }, call: WantedCall): boolean {
  if (method !== '*' && method !== call.method) return false;
  const asked = normalizePath(call.path, 'BASE');
  if (asked === undefined) return false;
  const bare = asked.split('?')[0]!;
  if (isTemplate(path)) return templateTest(path)?.(bare) ?? false;
  return path.endsWith('*') ? matchesGlob(path, bare) : path === bare;
}

/**
 * Combines the hops into a single verdict: refused if any hop refuses the call, otherwise unknown if any hop is
 * unknown, and otherwise allowed.
 */
function verdictOf(hops: readonly Hop[]): Verdict {
  return (['refused', 'unknown'] as const).find((one) => hops.some(({ verdict }) => verdict === one)) ?? 'allowed';
}

function hop(name: Hop['hop'], verdict: Verdict, reason: string, place?: string): Hop {
  return { hop: name, verdict, reason, ...(place !== undefined && { place }) };
}
