/** Defines the commands that answer questions about which calls a mesh allows. */
import { existsSync } from 'node:fs';
import {
  applyAccess,
  assumedNamespaces,
  type Cell,
  canI,
  canIOutside,
  combineVerdicts,
  type Decision,
  type Endpoint,
  findEndpoints,
  type GrantReach,
  grantsThatCan,
  matrixOf,
  type OutsideRequest,
  parseCaller,
  type Reacher,
  whoCan,
} from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity';
import { type MeshView, viewMesh } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { argument, type OptionsOf, text } from '../../command/flag.ts';
import { type Answer, EXIT } from '../../command/outcome.ts';
import { output, tokenAudience } from '../../command/shared-flags.ts';
import {
  identityTokens,
  MESH_PATHS,
  meshInputFlags,
  readAccessFile,
  readMesh,
  readMeshView,
} from '../../input/policy-input.ts';
import { buildOutsideRequest, buildRequest, parseClaims, requestFlags } from '../../input/request.ts';
import {
  assumptionJson,
  decisionJson,
  formatAssumptions,
  formatDecision,
  formatEvaluation,
  formatOutsideAnswer,
  outsideJson,
} from '../../output/decision-text.ts';

const args = { paths: MESH_PATHS };
const matrixFlags = { ...meshInputFlags, output };
const canIFlags = {
  as: text(
    '<identity>',
    'NAMESPACE/SERVICEACCOUNT, a SPIFFE principal, "nobody" (no client certificate), or "outside" (a client of a gateway)',
    { required: true },
  ),
  to: text('<target>', 'SERVICE.NAMESPACE:PORT, NAMESPACE/WORKLOAD:PORT, or the URL that a client outside uses', {
    required: true,
  }),
  certificate: text('<principal>', 'SPIFFE principal of the client certificate of a caller outside'),
  claims: text('<json>', 'payload of the token in the request, or @FILE to read it from a file'),
  ...requestFlags,
  ...meshInputFlags,
  output,
};

const whoCanArgs = {
  target: argument('SERVICE.NAMESPACE:PORT, or NAMESPACE/WORKLOAD:PORT'),
  paths: MESH_PATHS,
};
const whoCanFlags = {
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
type WhoCanFlags = OptionsOf<typeof whoCanFlags>;

export const commands = {
  'can-i': defineCommand({
    about: 'Prints the deciding rule, with file and line.',
    args,
    flags: canIFlags,
    exitCodes: {
      0: 'yes',
      1: 'no, or it depends on missing input',
      4: 'unknown: a deciding policy cannot be evaluated',
    },
    examples: [
      'meshpass policy can-i --as dev/web --to orders.shop:8080 --path /orders/1 mesh/',
      'meshpass policy can-i --as outside --to https://shop.example.com/orders/1 public/',
    ],
    page: 'docs/evaluator.md',
    run: decide,
  }),
  'who-can': defineCommand({
    about: 'Considers every identity known to the mesh.',
    args: whoCanArgs,
    flags: whoCanFlags,
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
  }),
  matrix: defineCommand({
    about: 'Rows are ServiceAccounts, columns are ports of workloads: + every call, ~ some calls, . none, ? unknown.',
    args,
    flags: matrixFlags,
    exitCodes: { 0: 'no cell is unknown', 4: 'a cell is unknown: a deciding policy cannot be evaluated' },
    examples: ['meshpass policy matrix mesh/', 'meshpass policy matrix mesh/ --output json'],
    page: 'docs/evaluator.md',
    run: showMatrix,
  }),
};

/**
 * Decides whether the mesh allows the call.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
async function decide({ paths, ...options }: OptionsOf<typeof args & typeof canIFlags>): Promise<Answer> {
  const { http, more } = buildRequest(options);
  const claims = parseClaims(options.claims);
  const view = await readMeshView(paths, options);
  if (options.as === 'outside') {
    const { to: url, certificate } = options;
    return answerOutside(view, buildOutsideRequest(options, { url, claims, certificate }));
  }
  if (options.certificate !== undefined) throw new MeshpassError('usage', '--certificate requires --as outside.');
  const caller = { ...parseCaller(options.as, view.config.trustDomain), ...(claims && { claims }) };
  const { allowed, answers } = canI(view, caller, options.to, http, more);
  const assumed = assumedNamespaces(
    view,
    answers.map(({ endpoint }) => endpoint),
  );
  const listed = answers.map(({ endpoint, verdict, unknown, decision, chosenByClient }) => ({
    ...endpointJson(endpoint),
    allowed: verdict,
    unknown,
    chosen_by_client: chosenByClient,
    decision: unknown === undefined ? decisionJson(decision) : undefined,
  }));
  const lines = answers.flatMap((answer) => {
    const choice = answer.chosenByClient ? ' (the client chooses: the port declares no protocol)' : '';
    const [judged, ...notes] = formatEvaluation(answer);
    return [`  ${placeOf(answer.endpoint)} ${judged}${choice}`, ...notes];
  });
  return {
    json: { allowed, answers: listed, ...assumptionJson(assumed, view.unplaced) },
    text: () => [VERDICTS[allowed], ...lines, ...formatAssumptions(assumed, view.unplaced)],
    exit: EXITS[allowed],
  };
}

const VERDICTS = { yes: 'yes', no: 'no', some: 'it depends', unknown: 'unknown' } as const;
const EXITS = { yes: EXIT.ok, no: EXIT.failed, some: EXIT.failed, unknown: EXIT.unknown } as const;

function answerOutside(view: MeshView, request: OutsideRequest): Answer {
  const { allowed, answers } = canIOutside(view, request);
  const assumed = answers.flatMap(({ assumesSidecar, workload }) => (assumesSidecar ? workload!.split('/')[0]! : []));
  return {
    json: { allowed, answers: answers.map(outsideJson), ...assumptionJson(assumed, view.unplaced) },
    text: () => [
      VERDICTS[allowed],
      ...answers.flatMap(formatOutsideAnswer),
      ...formatAssumptions(assumed, view.unplaced),
    ],
    exit: EXITS[allowed],
  };
}

/**
 * Lists the identities that can call the target.
 * @throws MeshpassError `usage`, `manifest_*`, `access_*`, `kubernetes_unavailable`
 */
async function listWhoCan(target: string, paths: readonly string[], flags: WhoCanFlags): Promise<Answer> {
  if (existsSync(target) && paths.some((path) => path !== '-' && !existsSync(path)))
    throw new MeshpassError('usage', `Expected HOST:PORT before the files, but ${target} is a file.`);
  const { resources, config, unread } = await readMesh(paths, flags);
  const tokens = identityTokens(flags);
  const access = flags.access === undefined ? undefined : readAccessFile(flags.access);
  // If an access file is given, the mesh is seen as it would be after applying that file.
  const granted = access && applyAccess(access, resources, { ...config, gateway: GATEWAY }, tokens);
  const view = viewMesh(granted?.resources ?? resources, config, unread);
  const { http, more } = buildRequest(flags);
  const { reachers, unknown } = whoCan(view, target, http, more);
  const asked = granted ? grantsThatCan(access, granted, view, tokens, target, http, more) : [];
  const grants = asked.filter((one) => one.unknown === undefined);
  const whys = [...unknown, ...asked.flatMap(ofGrant)];
  const assumed = assumedNamespaces(view, findEndpoints(view, target));
  const json = {
    target,
    who: reachers.map(({ endpoint, who, token, decision }) => ({
      who,
      token,
      ...endpointJson(endpoint),
      decision: decisionJson(decision),
    })),
    ...(flags.access !== undefined && { grants: grants.map(grantJson) }),
    unknown: whys.map(({ endpoint, who, why }) => ({ who, ...endpointJson(endpoint), why })),
    ...assumptionJson(assumed, view.unplaced),
  };
  const text = () => [
    ...(reachers.length + grants.length + whys.length === 0 ? ['Nobody.'] : []),
    ...reachers.flatMap(reacherLines),
    ...grants.flatMap(grantLines),
    ...whys.map(
      ({ endpoint, who, why }) => `unknown${who === undefined ? '' : ` of ${who}`} at ${placeOf(endpoint)}: ${why}`,
    ),
    ...formatAssumptions(assumed, view.unplaced),
  ];
  return { json, text, exit: whys.length > 0 ? EXIT.unknown : EXIT.ok };
}

interface Unknown {
  readonly endpoint: Endpoint;
  readonly who?: string;
  readonly why: string;
}

function ofGrant({ endpoint, grant, unknown }: GrantReach): readonly Unknown[] {
  return unknown === undefined ? [] : [{ endpoint, who: `holders of grant ${grant.name}`, why: unknown }];
}

/**
 * The default location of the mesh gateway, through which grant holders connect. The default is good enough here
 * because decisions at workloads do not depend on the location.
 */
const GATEWAY = { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 };

function placeOf({ authorizer: { workload }, port }: Endpoint): string {
  return `${workload.namespace}/${workload.name}:${port}`;
}

function endpointJson({ authorizer: { workload }, port }: Endpoint) {
  return { workload: `${workload.namespace}/${workload.name}`, port };
}

function grantJson({ endpoint, grant, decision, people, except, conditions, claims }: GrantReach) {
  const { name, place } = grant;
  const who = { people, except, conditions, claims };
  return { grant: name, place, ...who, ...endpointJson(endpoint), decision: decisionJson(decision) };
}

function reacherLines({ who, token, decision }: Reacher): readonly string[] {
  return [`${who}${token === undefined ? '' : ` with ${token}`}`, ...deciding(decision)];
}

function deciding(decision: Decision): readonly string[] {
  const [verdict, ...notes] = formatDecision(decision);
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

/**
 * Builds a matrix that shows which identities can call which endpoints.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
async function showMatrix({ paths, ...options }: OptionsOf<typeof args & typeof matrixFlags>): Promise<Answer> {
  const view = await readMeshView(paths, options);
  const { identities, endpoints, cells, assumed } = matrixOf(view);
  const isUnknown = view.unread !== undefined || cells.some(({ allowed }) => allowed === 'unknown');
  const at = Map.groupBy(cells, ({ who, endpoint }) => `${who}\n${endpoint.name}`);
  const listed = [...at.values()].map((some) => {
    const [{ who, endpoint, example }] = some as [Cell, ...Cell[]];
    const unknown = some.find((one) => one.unknown !== undefined)?.unknown;
    return { who, endpoint: endpoint.name, allowed: together(some), example, unknown };
  });
  const width = Math.max(...identities.map((one) => one.length), 1);
  const text = () => [
    ...endpoints.map((endpoint, index) => `${' '.repeat(width + 2)}${'|  '.repeat(index)}${endpoint}`),
    ...identities.map((who) => {
      const row = endpoints.map((endpoint) => MARKS[together(at.get(`${who}\n${endpoint}`) ?? [])]);
      return `${who.padEnd(width)}  ${row.join('  ')}`;
    }),
    '',
    '+ every call, ~ some calls, . none, ? unknown',
    ...new Set(cells.flatMap(({ endpoint, unknown }) => (unknown ? [`? ${endpoint.name}: ${unknown}`] : []))),
    ...formatAssumptions(assumed, view.unplaced),
  ];
  const json = { identities, endpoints, cells: listed, ...assumptionJson(assumed, view.unplaced) };
  return { json, text, exit: isUnknown ? EXIT.unknown : EXIT.ok };
}

const MARKS = { yes: '+', some: '~', no: '.', unknown: '?' } as const;

/** Combines the cells of all workloads that share a name. */
function together(cells: readonly Cell[]): Cell['allowed'] {
  const all = cells.map(({ allowed }) => allowed);
  if (all.includes('unknown')) return 'unknown';
  return all.includes('some') ? 'some' : combineVerdicts(all.filter((one) => one !== 'some'));
}
