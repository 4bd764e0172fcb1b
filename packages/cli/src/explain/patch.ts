/**
 * Implements `meshpass explain --patch`. It proposes the smallest change to the access file that allows a call, uses
 * the evaluator to prove that the change is sufficient, and lists everything else that it would allow.
 */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import {
  type Access,
  allowCall,
  describeWho,
  formatOperation,
  formatPlace,
  type Grant,
  loadAccess,
  parseAccess,
} from '@meshpass/access';
import { matchesGlob } from '@meshpass/access/compile';
import { type ExplainResponse, servicesAt } from '@meshpass/agent/explain/answer';
import type { RouteAnswer } from '@meshpass/agent/explain/route';
import { applyAccess, normalizePath } from '@meshpass/analysis/evaluate';
import { planChange } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { withFlagName } from '../input/files.ts';
import { formatWantedCall, type WantedCall } from './call.ts';
import {
  type CallDestination,
  clusterDomainOf,
  evaluateForCaller,
  findTargets,
  isOfService,
  sessionMesh,
  sessionSettings,
} from './evaluate-for-caller.ts';
import { meets } from './explain-call.ts';

/**
 * The access file of a local checkout, including the contents of all its files. This makes it possible to change one of
 * the files and parse the access file again.
 */
export interface AccessFiles {
  readonly access: Access;
  /**
   * The contents of the files, keyed by the names that source locations use. The main file has the name that was given,
   * and the names of included files are relative to its directory.
   */
  readonly texts: ReadonlyMap<string, string>;
  /** The paths of the files on disk, keyed by the same names. */
  readonly paths: ReadonlyMap<string, string>;
}

/**
 * Reads an access file and all the files that it includes.
 * @throws MeshpassError `access_file_*`, `config_invalid`
 */
export function readAccessFiles(file: string, flag: string): AccessFiles {
  return withFlagName(flag, () => {
    const read = new Map<string, string>();
    const { access, paths } = loadAccess(file, { name: file, onRead: (path, text) => read.set(path, text) });
    const names = access.files ?? [access.file];
    return {
      access,
      texts: new Map(names.map((name, at) => [name, read.get(paths[at]!)!])),
      paths: new Map(names.map((name, at) => [name, paths[at]!])),
    };
  });
}

export interface Patch {
  readonly grant: string;
  /** A unified diff that `git apply` accepts. */
  readonly diff: string;
  /** The operations that holders gain, including this call, such as `POST /orders on orders.shop:8080`. */
  readonly widens: readonly string[];
  /** Describes the people who hold the grant. */
  readonly holders: readonly string[];
  /** The assumptions that cannot be verified in a workspace. */
  readonly assumed: readonly string[];
}

export interface PatchInput {
  readonly call: WantedCall;
  readonly known: ExplainResponse;
  readonly files: AccessFiles;
  /**
   * The grant to change. Defaults to the grant that contains the service or, if there is none, to the session's only
   * grant.
   */
  readonly grant?: string | undefined;
}

/**
 * Proposes a patch to the access file.
 * @throws MeshpassError `patch_refused`, or `access_file_*` if a file cannot be read
 */
export function proposePatch(input: PatchInput): Patch {
  const { call, known, files } = input;
  const { to, isNew } = destinationOf(call, known);
  const entry = grantFor(input, to);
  const { name: grant, place } = entry;
  if (!isNew) refuseWhereRoutesLeadElsewhere(to, known.routes[grant]);
  refuseWhatSomebodyMustDecide(entry, to, call);
  if (findTargets(entry, to).length > 0 && evaluateForCaller(files.access, grant, to, call, known).allowed === 'yes')
    throw refusal(
      `${formatPlace(place)}: grant ${grant} of this file already allows ${formatWantedCall(call)}. Apply the file.`,
    );
  const before = files.texts.get(place.file)!;
  const [service, namespace] = to.host.split('.') as [string, string];
  const operation = call.protocol === 'tcp' ? undefined : { method: call.method, path: pathOf(call) };
  const after = allowCall(before, { grant, service, namespace, port: to.port, ...(operation && { operation }) });
  const access = parseChanged(files, place.file, after, call);
  if (evaluateForCaller(access, grant, to, call, known).allowed !== 'yes')
    throw refusal(
      `Another operation in grant ${grant} would not allow ${formatWantedCall(call)}. Edit the file by hand.`,
    );
  return {
    grant,
    diff: unifiedDiff(nameInRepository(files.paths.get(place.file)!), before, after),
    widens: widens(files.access, access, grant, to, known),
    holders: entry.who.map(describeWho),
    assumed: isNew ? [`${to.host}:${to.port} is a service of the mesh, and is ${to.protocol.toUpperCase()}`] : [],
  };
}

/** Returns the destination service. If the session does not know it, its properties are inferred from its name. */
function destinationOf(
  call: WantedCall,
  known: ExplainResponse,
): { readonly to: CallDestination; readonly isNew: boolean } {
  const [held] = servicesAt(known.services, call);
  if (held) return { to: held, isNew: false };
  const [service, namespace, svc = 'svc', ...domain] = call.host.replace(/\.$/, '').split('.');
  const clusterDomain = known.services[0] ? clusterDomainOf(known.services[0].host) : 'cluster.local';
  if (!service || !namespace || svc !== 'svc' || (domain.length > 0 && domain.join('.') !== clusterDomain))
    throw refusal(`${call.host} is not a service name. Use SERVICE.NAMESPACE.`);
  const host = `${service}.${namespace}.svc.${clusterDomain}`;
  return { to: { host, port: call.port, protocol: call.protocol, spiffe_ids: [] }, isNew: true };
}

function grantFor({ call, known, files, grant }: PatchInput, to: CallDestination): Grant {
  const own = files.access.grants.filter(({ name }) => known.session.grants.includes(name));
  if (grant !== undefined) {
    const named = own.find(({ name }) => name === grant);
    if (named) return named;
    throw refusal(`Grant ${grant} is not one of this session's grants in ${files.access.file}: ${namesOf(own)}.`);
  }
  const serving = servicesAt(known.services, call).map((one) => one.grant);
  const holding = own.filter((one) => serving.includes(one.name) || findTargets(one, to).length > 0);
  const candidates = holding.length > 0 ? holding : own;
  if (candidates.length === 1) return candidates[0]!;
  if (candidates.length === 0)
    throw refusal(`${files.access.file} contains none of this session's grants (${known.session.grants.join(', ')}).`);
  const why =
    holding.length > 0 ? 'Several grants in this session contain the service' : 'This session has several grants';
  throw refusal(`${why}. Select one with --grant: ${namesOf(candidates)}.`);
}

function namesOf(grants: readonly Grant[]): string {
  return grants.map(({ name }) => name).join(', ') || 'it has none of them';
}

/**
 * Refuses to create the patch if a route forwards the call to another service. In that case, the rules of the other
 * service decide, and a different entry would have to be changed.
 */
function refuseWhereRoutesLeadElsewhere({ host, port }: CallDestination, route: RouteAnswer | undefined): void {
  if (route?.kind === 'answer' && route.refusal?.code === 'agent_route_not_granted')
    throw refusal(
      `${route.refusal.description} Explain that service instead: meshpass explain http://SERVICE.NAMESPACE:PORT/PATH --access FILE --patch.`,
    );
  if (route?.kind !== 'forward') return;
  const [away] = route.to.filter((one) => one.host !== host || one.port !== port);
  if (!away && route.path === undefined) return;
  const by = route.rule === undefined ? 'A route' : `VirtualService ${route.rule}`;
  const to = `${away?.host ?? host}:${away?.port ?? port}${route.path ? ` with the path ${route.path}` : ''}`;
  throw refusal(`${by} forwards to ${to}, whose rules decide. Request a patch for that call.`);
}

/**
 * Refuses to create the patch if the access file denies the call or requires claims for it. Such rules are deliberate,
 * and an additional operation would circumvent them.
 */
function refuseWhatSomebodyMustDecide(grant: Grant, to: CallDestination, call: WantedCall): void {
  for (const { deny, require, allow, place } of targetsThatMayHold(grant, to)) {
    const demands = require ?? allow?.find((one) => one.require && meets(one, call));
    if (!demands && !deny?.some((one) => meets(one, call))) continue;
    const does = demands ? 'requires claims for' : 'denies';
    throw refusal(
      `${formatPlace(place)}: grant ${grant.name} ${does} ${formatWantedCall(call)} on services that it selects, and only the mesh knows whether ${to.host} is one of them. Edit the file by hand.`,
    );
  }
  for (const { deny, require, allow, place } of findTargets(grant, to)) {
    const at = `${formatPlace(place)}: grant ${grant.name}`;
    const denied = deny?.find((one) => meets(one, call));
    if (denied)
      throw refusal(
        `${at} denies ${formatOperation(denied)} on purpose. Ask the owner of the access file to change it.`,
      );
    const demanding = allow?.find((one) => one.require && meets(one, call));
    const claims = Object.keys({ ...require, ...demanding?.require });
    if (claims.length > 0)
      throw refusal(
        `${at} requires claims for ${formatWantedCall(call)} (${claims.join(', ')}), which only your identity provider can issue.`,
      );
  }
}

/** Returns the entries that may select the service by a pattern or by labels. */
function targetsThatMayHold({ to: targets }: Pick<Grant, 'to'>, to: CallDestination): Grant['to'] {
  const { host, port } = to;
  const [service, namespace] = host.split('.');
  return targets.filter(
    (one) =>
      !isOfService(one, to) &&
      (one.port === port || typeof one.port === 'string') &&
      (one.service === undefined || one.service === service) &&
      (one.host === undefined || one.host === host) &&
      (one.namespace === undefined || matchesGlob(one.namespace, namespace!)),
  );
}

/**
 * Returns the normalized path that sidecars match against. Throws if it contains pattern characters, because the entry
 * would then allow other paths as well.
 */
function pathOf(call: WantedCall): string {
  const path = normalizePath(call.path.split('?')[0]!, 'BASE');
  if (path === undefined || /[*{}]/.test(path))
    throw refusal(
      `${call.path.split('?')[0]} cannot be written as an exact path. Choose a pattern, and edit the file by hand.`,
    );
  return path;
}

/**
 * Parses the access file again after the contents of one of its files have been replaced.
 * @throws MeshpassError `patch_refused`
 */
function parseChanged({ access, texts }: AccessFiles, name: string, text: string, call: WantedCall): Access {
  const all = new Map([...texts, [name, text]]);
  const prefix = access.file.slice(0, access.file.lastIndexOf('/') + 1);
  try {
    return parseAccess(all.get(access.file)!, access.file, { include: (path) => ({ text: all.get(prefix + path)! }) });
  } catch (cause) {
    if (!(cause instanceof MeshpassError)) throw cause;
    const message = `${formatWantedCall(call)} cannot be written into ${name}: ${cause.message}`;
    throw new MeshpassError('patch_refused', message, { cause });
  }
}

/** Lists the operations that holders gain. They are determined by planning the change for this service. */
function widens(
  before: Access,
  after: Access,
  grant: string,
  to: CallDestination,
  known: ExplainResponse,
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
  const { shape, tokens } = sessionSettings(known, to.host);
  const { resources } = applyAccess(old, mesh, shape, tokens);
  const { reach } = planChange({ access: fresh, inForce: old, cluster: resources, shape, tokens });
  const gained = reach.flatMap(({ does, what, service }) => (does === 'gains' ? [`${what} on ${service}`] : []));
  return [
    ...gained,
    ...widenedByName(before, after, grant, to).map((port) => `the same on port "${port}" of ${to.host}`),
  ];
}

/**
 * Lists the named ports whose entries change. They are listed separately, because only the mesh knows their numbers.
 */
function widenedByName(before: Access, after: Access, grant: string, to: CallDestination): readonly string[] {
  const of = (access: Access) =>
    new Map(
      access.grants
        .filter(({ name }) => name === grant)
        .flatMap(({ to: targets }) => targets.filter((one) => isOfService(one, to) && typeof one.port === 'string'))
        .map(({ port, allow }) => [String(port), JSON.stringify(allow?.map(formatOperation))]),
    );
  const old = of(before);
  return [...of(after)].flatMap(([port, allow]) => (old.get(port) === allow ? [] : [port]));
}

/** Returns the entries for all ports of the service, because changing one entry may affect more than one port. */
function targetsOfService({ to: targets }: Grant, to: CallDestination): Grant['to'] {
  return targets
    .filter((one) => isOfService(one, to))
    .map((one) => (typeof one.port === 'number' ? one : { ...one, port: to.port }));
}

function refusal(message: string): MeshpassError {
  return new MeshpassError('patch_refused', message);
}

const CONTEXT = 3;

/**
 * Formats a unified diff with a single hunk, as accepted by `git apply`.
 * @param name the path relative to the root of the repository, separated by slashes
 */
function unifiedDiff(name: string, before: string, after: string): string {
  const [old, fresh] = [linesOf(before), linesOf(after)];
  let same = 0;
  while (same < old.length && same < fresh.length && old[same] === fresh[same]) same += 1;
  let tail = 0;
  while (tail < old.length - same && tail < fresh.length - same && old.at(-1 - tail) === fresh.at(-1 - tail)) tail += 1;
  const from = Math.max(0, same - CONTEXT);
  const behind = Math.min(tail, CONTEXT);
  const removed = old.slice(same, old.length - tail);
  const added = fresh.slice(same, fresh.length - tail);
  const above = old.slice(from, same);
  const below = old.slice(old.length - tail, old.length - tail + behind);
  const range = (changed: number) => `${from + 1},${above.length + changed + below.length}`;
  const marked = (mark: string, lines: readonly string[]) =>
    lines.map((line) => (line.endsWith('\n') ? `${mark}${line}` : `${mark}${line}\n\\ No newline at end of file\n`));
  // Append a tab to a name that contains spaces, as git does.
  const shown = name.includes(' ') ? `${name}\t` : name;
  return [
    `--- a/${shown}\n`,
    `+++ b/${shown}\n`,
    `@@ -${range(removed.length)} +${range(added.length)} @@\n`,
    ...marked(' ', above),
    ...marked('-', removed),
    ...marked('+', added),
    ...marked(' ', below),
  ].join('');
}

/** Splits a text into lines, including their line endings. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** Returns the path to a file relative to the root of its repository, or its base name if it is not in a repository. */
function nameInRepository(path: string): string {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if (existsSync(join(directory, '.git'))) return relative(directory, path).split(sep).join('/');
    if (dirname(directory) === directory) return basename(path);
  }
}
