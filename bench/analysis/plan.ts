/** Cost of a plan: 200 grants against a mesh of 2,000 services with policies of its own, from text to findings. */

import { parseAccess } from '@meshpass/access';
import { type Plan, planChange } from '@meshpass/analysis/plan';
import { loadManifests } from '@meshpass/istio';
import { median } from '../median.ts';

export interface PlanFigures {
  readonly grants: number;
  readonly services: number;
  readonly policies: number;
  /** Seconds: reading manifests and access file, and planning; medians. */
  readonly readSeconds: number;
  readonly planSeconds: number;
  /** CPU seconds of planning. */
  readonly planCpuSeconds: number;
  /** Planning a change of one grant when everything is applied. */
  readonly againSeconds: number;
  readonly reach: number;
  readonly findings: number;
}

const GRANTS = 200;
const SERVICES = 2_000;
const NAMESPACES = 100;
const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'bench', n: 'AQAB', e: 'AQAB' }] });
const TOKENS = { issuer: 'https://broker.example.com', audience: 'meshpass', header: 'x-meshpass-token', jwks: JWKS };

export function benchPlan(rounds: number): PlanFigures {
  const [meshText, accessText] = [mesh(), access(GRANTS)];
  const times: Record<'read' | 'plan' | 'cpu' | 'again', number[]> = { read: [], plan: [], cpu: [], again: [] };
  let plan: Plan | undefined;
  let policies = 0;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const { resources, problems } = loadManifests(meshText, 'mesh.yaml');
    if (problems.length > 0) throw new Error(problems[0]!.message);
    const file = parseAccess(accessText, 'access.yaml');
    const read = performance.now();
    const cpu = process.cpuUsage();
    plan = planChange({ access: file, cluster: resources, shape: SHAPE, tokens: TOKENS });
    const { user, system } = process.cpuUsage(cpu);
    times.cpu.push((user + system) / 1e6);
    const planned = performance.now();
    policies = resources.filter(({ kind }) => kind === 'AuthorizationPolicy').length;
    const applied = loadManifests(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: plan.manifests }), 'cluster');
    const cluster = [...resources, ...applied.resources];
    const changed = parseAccess(access(GRANTS - 1), 'access.yaml');
    const again = performance.now();
    planChange({ access: changed, cluster, shape: SHAPE, tokens: TOKENS });
    times.read.push((read - began) / 1000);
    times.plan.push((planned - read) / 1000);
    times.again.push((performance.now() - again) / 1000);
  }
  return {
    grants: GRANTS,
    services: SERVICES,
    policies,
    readSeconds: median(times.read),
    planSeconds: median(times.plan),
    planCpuSeconds: median(times.cpu),
    againSeconds: median(times.again),
    reach: plan!.reach.length,
    findings: plan!.findings.length,
  };
}

export function printPlan(figures: PlanFigures): void {
  const { grants, services, policies, reach, findings } = figures;
  console.log(`\nA plan of ${grants} grants against ${services} services and ${policies} policies that stand there:\n`);
  console.log(`  reading manifests and access file  ${figures.readSeconds.toFixed(2)} s`);
  console.log(`  planning                           ${figures.planSeconds.toFixed(2)} s  (aim: under 3 s)`);
  console.log(`  its CPU time                       ${figures.planCpuSeconds.toFixed(2)} s`);
  console.log(`  planning the change of one grant   ${figures.againSeconds.toFixed(2)} s`);
  console.log(`  found: ${reach} calls gained, ${findings} findings`);
}

/** A tenth of the services has an ALLOW of its own, every tenth namespace is closed, and one DENY holds everywhere. */
function mesh(): string {
  const documents: object[] = [
    policy('istio-system', 'no-metrics', {
      action: 'DENY',
      rules: [{ to: [{ operation: { paths: ['/metrics'], notMethods: ['GET'], ports: ['8080'] } }] }],
    }),
  ];
  for (let index = 0; index < SERVICES; index++) {
    const namespace = `team-${index % NAMESPACES}`;
    const name = `service-${index}`;
    const labels = { app: name };
    documents.push({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        selector: labels,
        ports: [
          { name: 'http', port: 80, targetPort: 8080 },
          { name: 'tcp-db', port: 5432 },
        ],
      },
    });
    documents.push({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace },
      spec: { template: { metadata: { labels }, spec: { serviceAccountName: name } } },
    });
    if (index % 10 === 3) {
      const from = [
        { source: { principals: [`cluster.local/ns/${namespace}/sa/service-${(index + NAMESPACES) % SERVICES}`] } },
      ];
      const to = [{ operation: { methods: ['GET'], paths: [`/${name}/*`, '/healthz'] } }];
      documents.push(
        policy(namespace, name, { selector: { matchLabels: labels }, action: 'ALLOW', rules: [{ from, to }] }),
      );
    }
  }
  for (let index = 0; index < NAMESPACES; index += 10) {
    const rules = [{ from: [{ source: { namespaces: [`team-${index}`] } }] }];
    documents.push(policy(`team-${index}`, 'only-own', { action: 'ALLOW', rules }));
  }
  return documents.map((document) => JSON.stringify(document)).join('\n---\n');
}

function policy(namespace: string, name: string, spec: object): object {
  return { apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata: { name, namespace }, spec };
}

function access(grants: number): string {
  const lines = ['trust: {codespaces: {organization: acme}}', 'grants:'];
  for (let grant = 0; grant < grants; grant++) {
    const target = (step: number) => {
      const index = (grant * 7 + step * 331) % SERVICES;
      return { index, name: `service-${index}.team-${index % NAMESPACES}` };
    };
    const [one, two, three] = [target(0), target(1), target(2)];
    lines.push(
      `  grant-${grant}:`,
      `    who: [{team: acme/team-${grant}}]`,
      '    to:',
      `      - {service: ${one.name}, port: 80, allow: [GET /service-${one.index}/*, POST /service-${one.index}/orders, GET /healthz]}`,
      `      - {service: ${two.name}, port: 80}`,
      `      - {service: ${three.name}, port: 5432}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
