/** `meshpass policy who-can`: who reaches an endpoint with a call, of the mesh's identities and by the grants of an access file. */
import {
  applyAccess,
  assumedNamespaces,
  type Endpoint,
  findEndpoints,
  type GrantReach,
  grantsThatCan,
  type Reacher,
  whoCan,
} from '@meshpass/analysis/evaluate';
import { type MeshView, viewMesh } from '@meshpass/istio';
import { EXIT, type Output } from '../../command/failure.ts';
import { type MeshInput, readMeshObjects } from '../../input/mesh-input.ts';
import { identityTokens, readAccessFile } from '../../input/policy-input.ts';
import { type RequestFlags, requestOf } from '../../input/request.ts';
import { assumptionJson, assumptionLines, decisionJson, decisionText } from '../../output/decision-text.ts';

export interface WhoCanFlags extends MeshInput, RequestFlags {
  readonly access?: string;
  readonly publicUrl: string;
  readonly tokenAudience: string;
  readonly output: Output;
}

/** Exits with 4 where the answer is unknown. @throws MeshpassError `usage`, `manifest_*`, `access_*`, `kubernetes_unavailable` */
export async function whoCanCommand(target: string, paths: readonly string[], flags: WhoCanFlags): Promise<void> {
  const { view, grantsFor } = await meshOf(paths, flags);
  const { http, more } = requestOf(flags);
  const { reachers, unknown } = whoCan(view, target, http, more);
  const asked = grantsFor(target, http, more);
  const grants = asked.filter((one) => one.unknown === undefined);
  const whys = [...unknown, ...asked.flatMap(ofGrant)];
  const assumed = assumedNamespaces(view, findEndpoints(view, target));
  if (whys.length > 0) process.exitCode = EXIT.unknown;
  if (flags.output === 'json') {
    const answer = {
      ...{
        target,
        who: reachers.map(reacherJson),
        ...(flags.access !== undefined && { grants: grants.map(grantJson) }),
      },
      ...{ unknown: whys.map(unknownJson), ...assumptionJson(assumed, view.unplaced) },
    };
    console.log(JSON.stringify(answer, null, 2));
    return;
  }
  if (reachers.length === 0 && grants.length === 0 && whys.length === 0) console.log('Nobody.');
  for (const { who, token, decision } of reachers) {
    console.log(`${who}${token === undefined ? '' : ` with ${token}`}\n    ${decisionText(decision)}`);
  }
  for (const one of grants) console.log(grantText(one));
  for (const { endpoint, who, why } of whys)
    console.log(`unknown${who === undefined ? '' : ` of ${who}`} at ${placeOf(endpoint)}: ${why}`);
  for (const line of assumptionLines(assumed, view.unplaced)) console.log(line);
}

interface Unknown {
  readonly endpoint: Endpoint;
  readonly who?: string;
  readonly why: string;
}

function ofGrant({ endpoint, grant, unknown }: GrantReach): readonly Unknown[] {
  return unknown === undefined ? [] : [{ endpoint, who: `holders of grant ${grant.name}`, why: unknown }];
}

type Question = Parameters<typeof whoCan> extends [unknown, ...infer Rest] ? Rest : never;

/** The mesh as it is, or as it is once the access file is applied. */
async function meshOf(
  paths: readonly string[],
  flags: WhoCanFlags,
): Promise<{ readonly view: MeshView; readonly grantsFor: (...question: Question) => readonly GrantReach[] }> {
  const { resources, config, unread } = await readMeshObjects(paths, flags);
  if (flags.access === undefined) return { view: viewMesh(resources, config, unread), grantsFor: () => [] };
  const access = readAccessFile(flags.access);
  const tokens = identityTokens(flags);
  const granted = applyAccess(access, resources, { ...config, gateway: GATEWAY }, tokens);
  const view = viewMesh(granted.resources, config, unread);
  return { view, grantsFor: (...question) => grantsThatCan(access, granted, view, tokens, ...question) };
}

/** Where the mesh gateway is by default: holders come through it, and what workloads decide does not depend on it. */
const GATEWAY = { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 };

function placeOf({ authorizer: { workload }, port }: Endpoint): string {
  return `${workload.namespace}/${workload.name}:${port}`;
}

function reacherJson({ endpoint: { authorizer, port }, who, token, decision }: Reacher): object {
  const workload = `${authorizer.workload.namespace}/${authorizer.workload.name}`;
  return { who, ...(token !== undefined && { token }), workload, port, decision: decisionJson(decision) };
}

function unknownJson({ endpoint: { authorizer, port }, who, why }: Unknown): object {
  const workload = `${authorizer.workload.namespace}/${authorizer.workload.name}`;
  return { ...(who !== undefined && { who }), workload, port, why };
}

function grantJson({
  endpoint: { authorizer, port },
  grant,
  people,
  except,
  conditions,
  claims,
  decision,
}: GrantReach) {
  return {
    ...{ grant: grant.name, place: grant.place, people, except, conditions, claims },
    workload: `${authorizer.workload.namespace}/${authorizer.workload.name}`,
    ...{ port, decision: decisionJson(decision) },
  };
}

function grantText({ grant, people, except, conditions, claims, decision }: GrantReach): string {
  const { file, line } = grant.place;
  const needed = Object.entries(claims).map(([name, values]) => `${name} ${values.join(' or ')}`);
  return [
    `holders of grant ${grant.name}, ${file}:${line}`,
    ...people.map((who) => `    ${who}`),
    ...except.map((who) => `    but not: ${who}`),
    ...conditions.map((condition) => `    ${condition}`),
    ...(needed.length > 0 ? [`    where the proof has the claims that are asked for: ${needed.join(', ')}`] : []),
    `    ${decisionText(decision)}`,
  ].join('\n');
}
