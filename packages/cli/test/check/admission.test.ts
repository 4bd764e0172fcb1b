/** Whether the admission policies of the chart are in force, as `meshpass check` sees them. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ADMISSION_POLICIES, checkAdmissionPolicies } from '../../src/check/admission-and-gateway.ts';
import type { Seen } from '../../src/check/context.ts';

const KINDS: Readonly<Record<string, string>> = {
  validatingadmissionpolicies: 'ValidatingAdmissionPolicy',
  validatingadmissionpolicybindings: 'ValidatingAdmissionPolicyBinding',
};

function chart(): Seen[] {
  return ['admission.yaml', 'audit-checkpoint.yaml', 'signing-key.yaml'].flatMap((file) => {
    const url = new URL(`../../../../deploy/helm/meshpass/files/${file}`, import.meta.url);
    return parseAllDocuments(readFileSync(url, 'utf8')).map((document) => document.toJS() as Seen);
  });
}

/** Findings about a cluster with these objects. */
async function says(objects: readonly Seen[], namespace = 'meshpass-system'): Promise<readonly string[]> {
  const call = async ({ path }: { readonly path: string }) => {
    const [kind = '', name] = path.split('/').slice(4);
    const found = objects.filter((one) => one.kind === KINDS[kind] && (!name || one.metadata.name === name));
    if (name) return found[0] ? { status: 200, body: found[0] } : { status: 404, body: {} };
    return { status: 200, body: { items: found } };
  };
  const gateway = { namespace, labels: {}, port: 15443 };
  const findings = await checkAdmissionPolicies({
    http: { call } as never,
    namespace,
    rootNamespace: 'istio-system',
    istiod: 'istiod',
    gateway,
    gitops: false,
    now: Date.now,
  });
  return findings.map(({ says }) => says);
}

const accounts = (objects: readonly Seen[]) =>
  objects.find(
    ({ kind, metadata }) => kind === KINDS.validatingadmissionpolicies && metadata.name === ADMISSION_POLICIES[0],
  )!;

describe('the admission policies', () => {
  it('are in force as the chart has them', async () => {
    expect(await says(chart())).toEqual([`${ADMISSION_POLICIES.length} admission policies are in effect.`]);
  });

  it('of another namespace do not bound this broker', async () => {
    const found = await says(chart(), 'platform');
    expect(found).toHaveLength(ADMISSION_POLICIES.length);
    expect(found[0]).toContain('it does not match all requests from the broker in platform');
  });

  it.each<[string, (policy: Seen) => void, string]>([
    ['that validates nothing', ({ spec }) => (spec.validations = []), 'it has no validations'],
    [
      'of a namespace with a label',
      ({ spec }) => (spec.matchConstraints.namespaceSelector = LABELS),
      'does not match all',
    ],
    ['of objects with a label', ({ spec }) => (spec.matchConstraints.objectSelector = LABELS), 'does not match all'],
    ['with a second condition', ({ spec }) => spec.matchConditions.push({ expression: 'false' }), 'does not match all'],
    ['that lets pass where it fails', ({ spec }) => (spec.failurePolicy = 'Ignore'), 'failurePolicy: Ignore'],
  ])('of which one is %s are not', async (_, change, why) => {
    const objects = chart();
    change(accounts(objects));
    expect(await says(objects)).toEqual([expect.stringContaining(why)]);
  });
});

describe('an admission policy with parameters', () => {
  it.each<[string, (binding: Seen) => void]>([
    ['some of them', ({ spec }) => (spec.paramRef.selector = LABELS)],
    ['one of them', ({ spec }) => (spec.paramRef = { name: 'orders', parameterNotFoundAction: 'Allow' })],
    ['those of one namespace', ({ spec }) => (spec.paramRef.namespace = 'shop')],
    ['objects of one team', ({ spec }) => (spec.matchResources.objectSelector = LABELS)],
    ['namespaces of one team', ({ spec }) => (spec.matchResources.namespaceSelector = LABELS)],
  ])('that is bound to %s is not in force', async (_, change) => {
    const objects = chart();
    change(objects.find(({ kind, spec }) => kind === KINDS.validatingadmissionpolicybindings && spec.paramRef)!);
    expect(await says(objects)).toEqual([
      expect.stringContaining('none of its bindings denies requests in all namespaces'),
    ]);
  });
});

const LABELS = { matchLabels: { team: 'a' } };
