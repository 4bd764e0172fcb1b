import { existsSync } from 'node:fs';
import {
  applyAccess,
  assumedNamespaces,
  type Decision,
  type Endpoint,
  findEndpoints,
  type GrantReach,
  grantsThatCan,
  type Reacher,
  whoCan,
} from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity/error';
import { type MeshView, viewMesh } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argument, argumentsOf, type OptionsOf, text } from '../../command/flag.ts';
import { output, tokenAudience } from '../../command/shared-flags.ts';
import { meshInputFlags, readMeshObjects } from '../../input/mesh-input.ts';
import { identityTokens, readAccessFile } from '../../input/policy-input.ts';
import { requestFlags, requestOf } from '../../input/request.ts';
import { assumptionJson, assumptionLines, decisionJson, decisionLines } from '../../output/decision-text.ts';
import { printJson, printLines } from '../../output/print.ts';

const args = {
  target: argument('SERVICE.NAMESPACE:PORT, or NAMESPACE/WORKLOAD:PORT'),
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = {
  ...requestFlags,
  access: text('<file>', 'access file; also lists its grants that allow the call, and who may have them', {
    env: 'MESHPASS_ACCESS',
  }),
  publicUrl: text('<url>', 'public URL of the broker, the issuer of identity tokens', {
    env: 'MESHPASS_PUBLIC_URL',
    default: 'https://broker.invalid',
    defaultText: 'an issuer that no policy uses',
  }),
  tokenAudience,
  ...meshInputFlags,
  output,
};
type WhoCanFlags = OptionsOf<typeof flags>;

export const command = defineCommand({
  about: 'Considers every identity known to the mesh.',
  args,
  flags,
  exitCodes: {
    0: 'every identity that can make the call is listed',
    4: 'unknown for some: a deciding policy cannot be evaluated',
  },
  examples: [
    'meshpass policy who-can orders.shop:8080 mesh/ --method POST --path /refunds',
    'meshpass policy who-can orders.shop:8080 mesh/ --path /orders/1 --access access.yaml',
  ],
  page: 'docs/evaluator.md',
  run: ({ target, paths, ...options }) => listWhoCan(target, paths, options),
});

/**
 * Lists the identities that can make the call.
 * @throws MeshpassError `usage`, `manifest_*`, `access_*`, `kubernetes_unavailable`
 */
async function listWhoCan(target: string, paths: readonly string[], flags: WhoCanFlags): Promise<ExitCode> {
  if (existsSync(target) && paths.some((path) => path !== '-' && !existsSync(path)))
    throw new MeshpassError('usage', `Expected HOST:PORT before the files, but ${target} is a file.`);
  const { view, grantsFor } = await meshOf(paths, flags);
  const { http, more } = requestOf(flags);
  const { reachers, unknown } = whoCan(view, target, http, more);
  const asked = grantsFor(target, http, more);
  const grants = asked.filter((one) => one.unknown === undefined);
  const whys = [...unknown, ...asked.flatMap(ofGrant)];
  const assumed = assumedNamespaces(view, findEndpoints(view, target));
  const code = whys.length > 0 ? EXIT.unknown : EXIT.ok;
  if (flags.output === 'json') {
    const answer = {
      target,
      who: reachers.map(reacherJson),
      ...(flags.access !== undefined && { grants: grants.map(grantJson) }),
      unknown: whys.map(unknownJson),
      ...assumptionJson(assumed, view.unplaced),
    };
    printJson(answer);
    return code;
  }
  if (reachers.length === 0 && grants.length === 0 && whys.length === 0) printLines('Nobody.');
  for (const { who, token, decision } of reachers) {
    printLines(`${who}${token === undefined ? '' : ` with ${token}`}`, ...deciding(decision));
  }
  for (const one of grants) printLines(...grantLines(one));
  for (const { endpoint, who, why } of whys)
    printLines(`unknown${who === undefined ? '' : ` of ${who}`} at ${placeOf(endpoint)}: ${why}`);
  printLines(...assumptionLines(assumed, view.unplaced));
  return code;
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

/** Builds the current mesh, or the mesh with the access file applied. */
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

/** Default location of the mesh gateway, through which holders connect. Decisions at workloads do not depend on it. */
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
    grant: grant.name,
    place: grant.place,
    people,
    except,
    conditions,
    claims,
    workload: `${authorizer.workload.namespace}/${authorizer.workload.name}`,
    port,
    decision: decisionJson(decision),
  };
}

function deciding(decision: Decision): readonly string[] {
  const [verdict, ...notes] = decisionLines(decision);
  return [`    ${verdict}`, ...notes];
}

function grantLines({ grant, people, except, conditions, claims, decision }: GrantReach): readonly string[] {
  const { file, line } = grant.place;
  const needed = Object.entries(claims).map(([name, values]) => `${name} ${values.join(' or ')}`);
  return [
    `holders of grant ${grant.name}, ${file}:${line}`,
    ...people.map((who) => `    ${who}`),
    ...except.map((who) => `    but not: ${who}`),
    ...conditions.map((condition) => `    ${condition}`),
    ...(needed.length > 0 ? [`    if the proof has the required claims: ${needed.join(', ')}`] : []),
    ...deciding(decision),
  ];
}
