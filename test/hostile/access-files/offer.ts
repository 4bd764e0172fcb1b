/**
 * Access files and bundles of them that must not be taken: read from disk as `serve --access` reads them, and planned as the broker
 * plans what it is sent. An input counts as let in if either way takes it; its control must be taken both ways.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { planChange, refuseUnsafe } from '@meshpass/analysis/plan';
import { createPolicyChanges, type PolicyChanges } from '@meshpass/broker/admin/policy/change';
import { createProver } from '@meshpass/broker/admin/policy/prover';
import { PolicyFiles } from '@meshpass/broker/admin/policy/stored-access';
import { toMeshpassError } from '@meshpass/identity';
import { loadManifests } from '@meshpass/istio';
import { playPolicyMesh } from '../../../packages/broker/test/harness/policy-mesh.ts';
import type { Outcome } from '../area.ts';
import { type Bundle, OTHER } from './bundles.ts';

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

const unreached = () => {
  throw new Error('a plan does not come here');
};
const MESH = playPolicyMesh({
  read: async () => CLUSTER,
  take: unreached,
  onChange: unreached,
  drift: unreached,
  resume: unreached,
  onDisk: unreached,
  followDisk: unreached,
});

/** Stops its process. */
const PROVER = createProver();

/** Offered both ways. */
export async function offer(bundle: Bundle): Promise<Outcome> {
  const answers = [await attempt(() => fromDisk(bundle))];
  // Files sent to a broker have no links.
  if (!Object.values(bundle).some((one) => typeof one !== 'string'))
    answers.push(await attempt(() => toBroker(bundle)));
  const refused = answers.filter(({ accepted }) => !accepted);
  // Both accept a control, and an input that either accepts counts as accepted: they must agree.
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
    const plan = planChange({ access, cluster: CLUSTER, shape: MESH.shape, tokens: MESH.tokens() });
    refuseUnsafe(plan);
    return plan.id;
  } finally {
    rmSync(above, { recursive: true });
  }
}

/** Sent as a bundle: checked as the API checks it, and planned as the broker plans it. */
async function toBroker(bundle: Bundle): Promise<string> {
  const files = PolicyFiles.parse(bundle);
  const plan = await changes().plan({ main: Object.keys(bundle)[0]!, files });
  refuseUnsafe(plan);
  return plan.id;
}

function changes(): Pick<PolicyChanges, 'plan'> {
  const journal = { transaction: unreached, settled: unreached, flush: unreached };
  const audit = { journal, clock: Date.now, observe: unreached };
  return createPolicyChanges(MESH, PROVER, { db: undefined as never }, audit);
}
