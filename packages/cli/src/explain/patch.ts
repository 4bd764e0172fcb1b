/** `meshpass explain --patch`: the smallest change of the access file that allows a call, proven, and what else it would widen. */
import { type Access, allowCall, describeWho, formatOperation, formatPlace, type Grant } from '@meshpass/access';
import { matchesGlob } from '@meshpass/access/compile';
import { type ExplainAnswer, servicesAt } from '@meshpass/agent/explain/answer';
import type { RouteAnswer } from '@meshpass/agent/explain/route';
import { applyAccess, normalizePath } from '@meshpass/analysis/evaluate';
import { planChange } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity/error';
import { type AccessFiles, withText } from './access-files.ts';
import { formatWanted, type WantedCall } from './call.ts';
import { clusterDomainOf, type Destination, judge, shapeOf, targetsNaming, tokensOf } from './judge.ts';
import { meets } from './rules-hop.ts';
import { sessionMesh } from './session-access.ts';
import { nameInRepository, unifiedDiff } from './unified-diff.ts';

export interface Patch {
  readonly grant: string;
  /** For `git apply`. */
  readonly diff: string;
  /** What its holders gain, this call included: `POST /orders on orders.shop:8080`. */
  readonly widens: readonly string[];
  /** Whom it widens for. */
  readonly holders: readonly string[];
  /** What was taken for granted, because no workspace knows it. */
  readonly assumed: readonly string[];
}

export interface PatchInput {
  readonly call: WantedCall;
  readonly known: ExplainAnswer;
  readonly files: AccessFiles;
  /** Where it is to be allowed; absent: the grant that serves the service, or the only one of the session. */
  readonly grant?: string | undefined;
}

/** @throws MeshpassError `patch_refused`; `access_file_*` for a file that cannot be read */
export function proposePatch(input: PatchInput): Patch {
  const { call, known, files } = input;
  const { to, isNew } = destinationOf(call, known);
  const entry = grantFor(input, to);
  const { name: grant, place } = entry;
  if (!isNew) refuseWhereRoutesLeadElsewhere(to, known.routes[grant]);
  refuseWhatSomebodyMustDecide(entry, to, call);
  if (targetsNaming(entry, to).length > 0 && judge(files.access, grant, to, call, known).allowed === 'yes')
    throw refusal(
      `${formatPlace(place)}: grant ${grant} of this file allows ${formatWanted(call)} already. Have the file applied.`,
    );
  const before = files.texts.get(place.file)!;
  const [service, namespace] = to.host.split('.') as [string, string];
  const operation = call.protocol === 'tcp' ? undefined : { method: call.method, path: pathOf(call) };
  const after = allowCall(before, { ...{ grant, service, namespace, port: to.port }, ...(operation && { operation }) });
  const access = read(files, place.file, after, call);
  if (judge(access, grant, to, call, known).allowed !== 'yes')
    throw refusal(`An operation more in grant ${grant} would not allow ${formatWanted(call)}: edit the file by hand.`);
  return {
    grant,
    diff: unifiedDiff(nameInRepository(files.paths.get(place.file)!), before, after),
    widens: widens(files.access, access, grant, to, known),
    holders: entry.who.map(describeWho),
    assumed: isNew ? [`${to.host}:${to.port} is a service of the mesh, and is ${to.protocol.toUpperCase()}`] : [],
  };
}

/** The service as the session knows it, or as its name says. */
function destinationOf(call: WantedCall, known: ExplainAnswer): { readonly to: Destination; readonly isNew: boolean } {
  const [held] = servicesAt(known.services, call);
  if (held) return { to: held, isNew: false };
  const [service, namespace, svc = 'svc', ...domain] = call.host.replace(/\.$/, '').split('.');
  const clusterDomain = known.services[0] ? clusterDomainOf(known.services[0].host) : 'cluster.local';
  if (!service || !namespace || svc !== 'svc' || (domain.length > 0 && domain.join('.') !== clusterDomain))
    throw refusal(`${call.host} is no name of a service: write SERVICE.NAMESPACE.`);
  const host = `${service}.${namespace}.svc.${clusterDomain}`;
  return { to: { host, port: call.port, protocol: call.protocol, spiffe_ids: [] }, isNew: true };
}

function grantFor({ call, known, files, grant }: PatchInput, to: Destination): Grant {
  const own = files.access.grants.filter(({ name }) => known.session.grants.includes(name));
  if (grant !== undefined) {
    const named = own.find(({ name }) => name === grant);
    if (named) return named;
    throw refusal(`Grant ${grant} is not one of this session in ${files.access.file}: ${namesOf(own)}.`);
  }
  const serving = servicesAt(known.services, call).map((one) => one.grant);
  const holding = own.filter((one) => serving.includes(one.name) || targetsNaming(one, to).length > 0);
  const candidates = holding.length > 0 ? holding : own;
  if (candidates.length === 1) return candidates[0]!;
  if (candidates.length === 0)
    throw refusal(`${files.access.file} has none of the grants of this session (${known.session.grants.join(', ')}).`);
  const why =
    holding.length > 0 ? 'Several grants of this session hold the service' : 'This session has several grants';
  throw refusal(`${why}: name one with --grant: ${namesOf(candidates)}.`);
}

function namesOf(grants: readonly Grant[]): string {
  return grants.map(({ name }) => name).join(', ') || 'it has none of them';
}

/** The rules of another service decide then, and it is another entry that has to change. */
function refuseWhereRoutesLeadElsewhere({ host, port }: Destination, route: RouteAnswer | undefined): void {
  if (route?.kind === 'answer' && route.notGranted !== undefined)
    throw refusal(
      `${route.notGranted} Ask for that service: meshpass explain http://SERVICE.NAMESPACE:PORT/PATH --access-file FILE --patch.`,
    );
  if (route?.kind !== 'forward') return;
  const [away] = route.to.filter((one) => one.host !== host || one.port !== port);
  if (!away && route.path === undefined) return;
  const by = route.rule === undefined ? 'A route' : `VirtualService ${route.rule}`;
  const to = `${away?.host ?? host}:${away?.port ?? port}${route.path ? ` with the path ${route.path}` : ''}`;
  throw refusal(`${by} leads to ${to}, whose rules decide: ask for a patch for that call.`);
}

/** A denial and a demand were written on purpose: an operation beside them would be the way around. */
function refuseWhatSomebodyMustDecide(grant: Grant, to: Destination, call: WantedCall): void {
  for (const { deny, require, allow, place } of targetsThatMayHold(grant, to)) {
    const demands = require ?? allow?.find((one) => one.require && meets(one, call));
    if (!demands && !deny?.some((one) => meets(one, call))) continue;
    const does = demands ? 'demands claims for' : 'denies';
    throw refusal(
      `${formatPlace(place)}: grant ${grant.name} ${does} ${formatWanted(call)} on services that it selects; whether ${to.host} is one of them only the mesh tells: edit the file by hand.`,
    );
  }
  for (const { deny, require, allow, place } of targetsNaming(grant, to)) {
    const at = `${formatPlace(place)}: grant ${grant.name}`;
    const denied = deny?.find((one) => meets(one, call));
    if (denied)
      throw refusal(`${at} denies ${formatOperation(denied)}; somebody decided that, and has to decide otherwise.`);
    const demanding = allow?.find((one) => one.require && meets(one, call));
    const claims = Object.keys({ ...require, ...demanding?.require });
    if (claims.length > 0)
      throw refusal(
        `${at} demands claims for ${formatWanted(call)} (${claims.join(', ')}), which only your identity provider can give.`,
      );
  }
}

/** Entries that may hold the service without naming it: by a pattern or by labels. */
function targetsThatMayHold({ to: targets }: Pick<Grant, 'to'>, to: Destination): Grant['to'] {
  const { host, port } = to;
  const [service, namespace] = host.split('.');
  return targets.filter(
    (one) =>
      !isOf(one, to) &&
      (one.port === port || typeof one.port === 'string') &&
      (one.service === undefined || one.service === service) &&
      (one.host === undefined || one.host === host) &&
      (one.namespace === undefined || matchesGlob(one.namespace, namespace!)),
  );
}

/** As sidecars compare it. A pattern would allow more than was asked for. */
function pathOf(call: WantedCall): string {
  const path = normalizePath(call.path.split('?')[0]!, 'BASE');
  if (path === undefined || /[*{}]/.test(path))
    throw refusal(
      `${call.path.split('?')[0]} cannot be written as an exact path: choose a pattern, and edit the file by hand.`,
    );
  return path;
}

function read(files: AccessFiles, name: string, text: string, call: WantedCall): Access {
  try {
    return withText(files, name, text);
  } catch (error) {
    if (!(error instanceof MeshpassError)) throw error;
    throw new MeshpassError('patch_refused', `${formatWanted(call)} cannot be written into ${name}: ${error.message}`, {
      cause: error,
    });
  }
}

/** By a plan of the change on what is known of the mesh: this service, alone. */
function widens(
  before: Access,
  after: Access,
  grant: string,
  to: Destination,
  known: ExplainAnswer,
): readonly string[] {
  const only = (access: Access): Access => ({
    ...access,
    grants: access.grants.flatMap((one) => (one.name === grant ? [bare(one)] : [])),
  });
  const bare = (one: Grant): Grant => ({ ...one, kubernetesRoles: [], to: targetsOfService(one, to) });
  const [old, fresh] = [only(before), only(after)];
  const ports = [
    ...new Set([...old.grants, ...fresh.grants].flatMap((one) => one.to.map(({ port }) => port as number))),
  ];
  const mesh = sessionMesh(
    [...new Set([to.port, ...ports])].map((port) => {
      const heldToo = known.services.find((one) => one.host === to.host && one.port === port);
      return heldToo ?? { ...to, port };
    }),
  );
  const shape = shapeOf(known.trustDomain, clusterDomainOf(to.host));
  const tokens = tokensOf(known);
  const { resources } = applyAccess(old, mesh, shape, tokens);
  const { reach } = planChange({ access: fresh, inForce: old, cluster: resources, shape, tokens });
  const gained = reach.flatMap(({ does, what, service }) => (does === 'gains' ? [`${what} on ${service}`] : []));
  return [
    ...gained,
    ...widenedByName(before, after, grant, to).map((port) => `the same on port "${port}" of ${to.host}`),
  ];
}

/** Ports that the changed entry gives by their names: which numbers those are only the mesh tells. */
function widenedByName(before: Access, after: Access, grant: string, to: Destination): readonly string[] {
  const of = (access: Access) =>
    new Map(
      access.grants
        .filter(({ name }) => name === grant)
        .flatMap(({ to: targets }) => targets.filter((one) => isOf(one, to) && typeof one.port === 'string'))
        .map(({ port, allow }) => [String(port), JSON.stringify(allow?.map(formatOperation))]),
    );
  const old = of(before);
  return [...of(after)].flatMap(([port, allow]) => (old.get(port) === allow ? [] : [port]));
}

function isOf(one: Grant['to'][number], { host }: Destination): boolean {
  const [service, namespace] = host.split('.');
  return one.labels === undefined && (one.host === host || (one.service === service && one.namespace === namespace));
}

/** Entries of every port of the service: one entry may give several. */
function targetsOfService({ to: targets }: Grant, to: Destination): Grant['to'] {
  return targets
    .filter((one) => isOf(one, to))
    .map((one) => (typeof one.port === 'number' ? one : { ...one, port: to.port }));
}

function refusal(message: string): MeshpassError {
  return new MeshpassError('patch_refused', message);
}
