/**
 * Access files and bundles of them that must not be taken: read from disk as `serve --access` reads them, and planned as the broker
 * plans what it is sent. An input counts as let in if either way takes it; its control must be taken both ways.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { planChange, refuseUnsafe } from '@meshpass/analysis/plan';
import { type PolicyChanges, policyChanges } from '@meshpass/broker/policy/change';
import { Files } from '@meshpass/broker/policy/history';
import { toMeshpassError } from '@meshpass/identity';
import { loadManifests } from '@meshpass/istio';
import type { Outcome } from '../area.ts';
import { type Bundle, OTHER } from './bundles.ts';

const SHAPE = {
  ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
const TOKENS = { issuer: 'https://broker.example.com', audience: 'meshpass', header: 'x-meshpass-token', jwks: JWKS };
const service = (name: string, namespace: string, port = '{name: http, port: 8080}') =>
  `---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {selector: {app: ${name}}, ports: [${port}]}\n`;
const CLUSTER = loadManifests(
  [
    service('orders', 'shop'),
    service('ledger', 'shop', '{name: tcp, port: 5432}'),
    service('dns', 'kube-system'),
    service('istiod', 'istio-system'),
    service('edge', 'meshpass-system'),
    service('holder', 'meshpass-other'),
  ].join(''),
  'cluster.yaml',
).resources;

/** Offered both ways. */
export async function offer(bundle: Bundle): Promise<Outcome> {
  const answers = [await attempt(() => fromDisk(bundle))];
  // What is sent to a broker has no links.
  if (!Object.values(bundle).some((one) => typeof one !== 'string'))
    answers.push(await attempt(() => toBroker(bundle)));
  const refused = answers.filter(({ accepted }) => !accepted);
  // A control is taken by both, and whatever either takes was let in: they must agree.
  if (refused.length > 0 && refused.length < answers.length)
    return { accepted: true, answer: `one of two takes it: ${answers.map(({ answer }) => answer).join(' | ')}` };
  return answers.find(({ accepted }) => !accepted) ?? answers[0]!;
}

async function attempt(how: () => Promise<string>): Promise<Outcome> {
  try {
    return { accepted: true, answer: await how() };
  } catch (thrown) {
    const { code, message } = toMeshpassError(thrown, 'internal', String(thrown));
    return { accepted: false, answer: `${code}: ${message.slice(0, 300)}` };
  }
}

/** Read as the broker reads its file, and planned. */
async function fromDisk(bundle: Bundle): Promise<string> {
  const above = mkdtempSync(join(tmpdir(), 'meshpass-hostile-'));
  const directory = join(above, 'files');
  try {
    mkdirSync(directory);
    writeFileSync(join(above, 'outside.yaml'), OTHER);
    for (const [path, content] of Object.entries(bundle)) {
      const at = join(directory, path);
      mkdirSync(dirname(at), { recursive: true });
      if (typeof content === 'string') writeFileSync(at, content);
      else symlinkSync(content.link, at);
    }
    const { access } = loadAccess(join(directory, Object.keys(bundle)[0]!));
    const plan = planChange({ access, cluster: CLUSTER, shape: SHAPE, tokens: TOKENS });
    refuseUnsafe(plan);
    return plan.id;
  } finally {
    rmSync(above, { recursive: true });
  }
}

/** Sent as a bundle: checked as the API checks it, and planned as the broker plans it. */
async function toBroker(bundle: Bundle): Promise<string> {
  const files = Files.parse(bundle);
  const plan = await changes().plan({ main: Object.keys(bundle)[0]!, files });
  refuseUnsafe(plan);
  return plan.id;
}

function changes(): Pick<PolicyChanges, 'plan'> {
  const unreached = () => {
    throw new Error('a plan does not come here');
  };
  const mesh = {
    ...{ read: async () => CLUSTER, shape: SHAPE, tokens: () => TOKENS, inForce: () => undefined },
    ...{ rehearse: async () => {}, take: unreached, onChange: unreached, drift: unreached, resume: unreached },
  };
  const audit = { journal: { write: unreached, flush: unreached }, clock: Date.now, observe: unreached };
  return policyChanges(mesh, { db: undefined as never }, audit);
}
