/**
 * Compares plan and compile with can-i: the mesh with an access file applied, for holders of its grants and for other
 * callers.
 */

import { parseAccess } from '@meshpass/access';
import { type Access, meshOf, type ResolvedTarget, resolveAccess } from '@meshpass/access/compile';
import { loadObject, type MeshConfig, type Resource, viewMesh } from '@meshpass/istio';
import { canI } from '../../src/evaluate/can-i.ts';
import { type Plan, planChange } from '../../src/plan/plan.ts';
import { METHODS, maybe, PATHS, pick, type Random } from '../diff/random-policies.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';
import type { Tally } from './tally.ts';

const NAMESPACES = ['dev', 'shop', 'shop-eu', 'else'];
const ACCOUNTS = ['orders', 'web', 'order', 'nobody'];

/** @param most maximum questions about other callers */
export function askPlan(
  tally: Tally,
  round: number,
  random: Random,
  cluster: readonly Resource[],
  config: MeshConfig,
  most: number,
): void {
  const shape = { ...SHAPE, trustDomain: config.trustDomain };
  const access = accessTo(random, cluster);
  if (!access) return;
  const plan = planChange({ access, cluster, shape, tokens: TOKENS });
  const after = [...cluster, ...plan.manifests.flatMap((one) => loadObject(one, 'compiled').resources)];
  const views = [viewMesh(cluster, config), viewMesh(after, config)] as const;
  const { grants } = resolveAccess(access, meshOf(cluster, shape));
  const targets = grants.flatMap(({ grant, targets: some }) => some.map((target) => ({ grant: grant.name, target })));

  for (const { grant, target } of targets) askHolder(tally, round, random, plan, views[1], grant, target);
  for (let left = most; left > 0; left--) askOther(tally, round, random, plan, views, pick(random, PORTS));
}

const PORTS = ['orders.shop:80', 'orders.shop:90', 'web.shop:80', 'web.shop:90'];

/** Creates an access file that grants ports with a declared protocol; undefined if there are none. */
function accessTo(random: Random, cluster: readonly Resource[]): Access | undefined {
  const services = cluster.flatMap((one) => (one.kind === 'Service' ? [one] : []));
  const entries = services.flatMap(({ metadata, spec }) =>
    (spec.ports ?? []).flatMap(({ port, name = '' }) => {
      if (name.startsWith('x') || random() < 0.4) return [];
      const http = !name.startsWith('tcp');
      const allow =
        http && random() < 0.6
          ? `, allow: [${pick(random, ['GET', 'POST', '"*"'])} ${pick(random, ['/a', '/a/*', '/admin/{*}'])}]`
          : '';
      return [
        `{service: ${metadata.name}.${metadata.namespace}, port: ${port}${allow.replace('[', "['").replace(']', "']").replace('"*"', '*')}}`,
      ];
    }),
  );
  if (entries.length === 0) return undefined;
  const grant = (name: string, some: readonly string[]) =>
    some.length > 0 ? `\n  ${name}:\n    who: [{user: octocat}]\n    to: [${some.join(', ')}]` : '';
  const half = Math.ceil(entries.length / 2);
  const text = `trust:\n  codespaces: {organization: acme}\ngrants:${grant('a', entries.slice(0, half))}${grant('b', entries.slice(half))}\n`;
  return parseAccess(text, 'access.yaml');
}

/** Checks that the holder of a grant without findings reaches exactly the granted calls. */
function askHolder(
  tally: Tally,
  round: number,
  random: Random,
  { findings }: Plan,
  view: ReturnType<typeof viewMesh>,
  grant: string,
  { target, service, port, sni }: ResolvedTarget,
): void {
  const at = `${service.name}.${service.namespace}:${port.port}`;
  const mine = findings.filter((one) => one.grant === grant);
  const more = findings.some(({ kind }) => kind === 'reaches-more');
  const caller = {
    principal: `${view.config.trustDomain}/ns/meshpass-${grant}/sa/holder`,
    ...(port.protocol !== 'tcp' && {
      claims: { iss: TOKENS.issuer, sub: 'holder', aud: [TOKENS.audience], grants: [grant] },
    }),
  };
  const ask = (claim: string, http: { method: string; path: string } | undefined, wanted: boolean, name: string) => {
    const answer = canI(view, caller, at, port.protocol === 'tcp' ? undefined : http, {
      sni: name,
      sourceIp: '198.51.100.1',
    });
    if (answer.allowed === 'unknown') {
      tally.skip();
      return;
    }
    // can-i assumes plain text for a port without mutual TLS; a workspace never sends it, so it is refused.
    if (answer.answers.some(({ endpoint }) => endpoint.authorizer.peerMode(endpoint.port).mode === 'DISABLE')) {
      if (wanted)
        tally.ask('plan: no grant works without mutual TLS', round, false, false, () => ({ grant, at, findings }));
      return;
    }
    // Every workload behind the name allows a granted call, and none allows another. If a client may choose the
    // protocol, the agent announces the granted one.
    const ways = answer.answers.filter(
      ({ chosenByClient, decision }) => !wanted || !chosenByClient || decision.as === 'http',
    );
    const agrees = ways.every(({ decision }) => decision.allowed === wanted);
    tally.ask(claim, round, agrees, answer.allowed !== 'no', () => ({
      grant,
      at,
      http,
      sni: name,
      wanted,
      answer: answer.allowed,
      findings,
      decisions: answer.answers.map(({ endpoint, decision }) => ({
        workload: endpoint.authorizer.workload.name,
        decision,
      })),
    }));
  };
  const [operation] = target.allow ?? [{ method: '*', path: '/*' }];
  const method = operation!.method === '*' ? pick(random, METHODS) : operation!.method;
  const granted = { method, path: operation!.path.replace('{*}', 'x').replace('*', 'x/y') };
  if (mine.length === 0) ask('plan: grant works', granted, true, sni);
  if (more) return;
  ask('plan: no other port', granted, false, sni.replace(/_\.\d+_/, '_.4444_'));
  if (target.allow)
    ask(
      'plan: no other call',
      { method: 'PATCH', path: '/zz' },
      operation!.method === '*' && operation!.path === '/*',
      sni,
    );
}

/** Checks that callers without a grant are unaffected: compile adds no first ALLOW, and a DENY only for holders. */
function askOther(
  tally: Tally,
  round: number,
  random: Random,
  { findings }: Plan,
  views: readonly [ReturnType<typeof viewMesh>, ReturnType<typeof viewMesh>],
  at: string,
): void {
  const caller =
    random() < 0.8
      ? { principal: `${views[0].config.trustDomain}/ns/${pick(random, NAMESPACES)}/sa/${pick(random, ACCOUNTS)}` }
      : {};
  const http = at.endsWith(':90') ? undefined : { method: pick(random, METHODS), path: pick(random, PATHS) };
  const more = {
    sourceIp: pick(random, ['10.1.2.3', '198.51.100.1']),
    ...(caller.principal && maybe(random, 0.8, 'sni', () => 'outbound_.80_._.orders.shop.svc.cluster.local')),
  };
  const [before, after] = views.map((view) => canI(view, caller, at, http, more)) as [
    ReturnType<typeof canI>,
    ReturnType<typeof canI>,
  ];
  if (before.allowed === 'unknown' || after.allowed === 'unknown') {
    tally.skip();
    return;
  }
  const same = before.answers.every(
    ({ decision }, index) => decision.allowed === after.answers[index]?.decision.allowed,
  );
  tally.ask('compile: others are unaffected', round, same, after.allowed !== 'no', () => ({
    caller,
    at,
    http,
    more,
    before: before.answers,
    after: after.answers,
    findings,
  }));
  // An open workload must stay open; a first ALLOW would close it.
  const open = before.answers.every(({ decision }) => decision.reason === 'open');
  if (open)
    tally.ask(
      'compile: no first ALLOW',
      round,
      after.answers.every(({ decision }) => decision.reason === 'open'),
      true,
      () => ({
        caller,
        at,
        http,
        before: before.answers,
        after: after.answers,
      }),
    );
}
