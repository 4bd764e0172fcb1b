/** Cost of a decision on one core: a workload with policies like those of an organisation, and calls of every kind. */

import { type Call, createAuthorizer } from '@meshpass/analysis/evaluate';
import { loadManifests, viewMesh } from '@meshpass/istio';
import { median } from '../median.ts';

export interface EvaluateFigures {
  readonly policies: number;
  readonly rules: number;
  readonly allowed: number;
  /** Decisions a second of CPU time, medians. */
  readonly perSecond: number;
  /** Costs without tokens. */
  readonly withoutTokens: number;
  /** Microseconds to compile the policies of one workload. */
  readonly compileMicros: number;
}

const SERVICES = 20;
const CALLS = 1_000;
const TURNS = 1_000;

export function benchEvaluate(rounds: number): EvaluateFigures {
  const { resources, problems } = loadManifests(manifests(), 'bench.yaml');
  if (problems.length > 0) throw new Error(problems[0]!.message);
  const view = viewMesh(resources);
  const workload = view.workloads.find(({ name }) => name === 'orders')!;
  const compiled = performance.now();
  const authorizer = createAuthorizer(view, workload);
  const compileMicros = (performance.now() - compiled) * 1000;
  const calls = Array.from({ length: CALLS }, (_, index) => callOf(index));
  const plain = calls.filter(({ tokens }) => !tokens);
  const measure = (some: readonly Call[]): { readonly perSecond: number; readonly allowed: number } => {
    let allowed = 0;
    const before = process.cpuUsage();
    for (let turn = 0; turn < TURNS; turn++) for (const call of some) if (authorizer.decide(call).allowed) allowed++;
    const { user, system } = process.cpuUsage(before);
    return { perSecond: (some.length * TURNS) / ((user + system) / 1e6), allowed: allowed / TURNS };
  };
  measure(calls);
  const all = Array.from({ length: rounds }, () => measure(calls));
  const bare = Array.from({ length: rounds }, () => measure(plain));
  return {
    policies: authorizer.policies.length,
    rules: authorizer.policies.reduce((sum, { spec }) => sum + (spec.rules?.length ?? 0), 0),
    allowed: all[0]!.allowed,
    perSecond: median(all.map(({ perSecond }) => perSecond)),
    withoutTokens: median(bare.map(({ perSecond }) => perSecond)),
    compileMicros,
  };
}

export function printEvaluate(figures: EvaluateFigures): void {
  const { policies, rules, allowed, perSecond, withoutTokens, compileMicros } = figures;
  const millions = (value: number) => `${(value / 1e6).toFixed(2)} million a second`;
  console.log(
    `\nDecisions about ${CALLS} calls (${allowed} allowed) under ${policies} policies of ${rules} rules, one core:`,
  );
  console.log(
    `  ${millions(perSecond)}, a third of the calls with a token; ${millions(withoutTokens)} without  (aim: 1)`,
  );
  console.log(`  policies of the workload compiled in ${Math.round(compileMicros)} us`);
}

function manifests(): string {
  const object = (kind: string, name: string, spec: object, namespace = 'shop') =>
    JSON.stringify({ apiVersion: 'security.istio.io/v1', kind, metadata: { name, namespace }, spec });
  const principal = (name: string) => `cluster.local/ns/shop/sa/${name}`;
  const selector = { matchLabels: { app: 'orders' } };
  const allow = Array.from({ length: SERVICES }, (_, index) =>
    object('AuthorizationPolicy', `allow-${index}`, {
      selector,
      rules: [
        {
          from: [{ source: { principals: [principal(`client-${index}`)] } }],
          to: [{ operation: { methods: ['GET', 'POST'], paths: [`/service-${index}/*`, `/v2/{*}/${index}`] } }],
        },
      ],
    }),
  );
  return [
    JSON.stringify({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'orders', namespace: 'shop' },
      spec: { template: { metadata: { labels: { app: 'orders' } }, spec: { serviceAccountName: 'orders' } } },
    }),
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'orders', namespace: 'shop' },
      spec: { selector: { app: 'orders' }, ports: [{ name: 'http', port: 8080 }] },
    }),
    object('PeerAuthentication', 'default', { mtls: { mode: 'STRICT' } }, 'istio-system'),
    object('RequestAuthentication', 'okta', { jwtRules: [{ issuer: 'https://acme.okta.com', audiences: ['shop'] }] }),
    object(
      'AuthorizationPolicy',
      'no-admin',
      { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/admin*'] } }] }] },
      'istio-system',
    ),
    object('AuthorizationPolicy', 'no-dev', {
      action: 'DENY',
      rules: [{ from: [{ source: { namespaces: ['dev', 'test-*'] } }] }],
    }),
    object('AuthorizationPolicy', 'sre', {
      selector,
      rules: [{ when: [{ key: 'request.auth.claims[groups]', values: ['sre', 'oncall'] }] }],
    }),
    ...allow,
  ].join('\n---\n');
}

function callOf(index: number): Call {
  const client = index % (SERVICES + 4);
  const namespace = index % 11 === 0 ? 'dev' : 'shop';
  const paths = [
    `/service-${client}/items/${index}`,
    `/v2/x/${client}`,
    '/admin/users',
    '/other',
    '/a/../service-1/x?q=1',
  ];
  const token = index % 3 === 0;
  const claims = {
    iss: 'https://acme.okta.com',
    sub: `user-${index % 7}`,
    aud: 'shop',
    groups: [index % 2 ? 'sre' : 'web'],
  };
  return {
    principal: `cluster.local/ns/${namespace}/sa/client-${client}`,
    sourceIp: '10.1.2.3',
    port: 8080,
    sni: 'outbound_.8080_._.orders.shop.svc.cluster.local',
    http: {
      method: index % 5 === 4 ? 'DELETE' : 'GET',
      path: paths[index % paths.length]!,
      authority: 'orders.shop:8080',
      headers: { 'user-agent': 'bench', ...(token && { authorization: `Bearer token-${index}` }) },
    },
    ...(token && { tokens: [{ text: `token-${index}`, claims }] }),
  };
}
