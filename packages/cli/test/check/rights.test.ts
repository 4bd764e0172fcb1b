/** The rights that `meshpass check` asks for are those that the chart gives. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ADMISSION_POLICIES } from '../../src/check/admission-and-gateway.ts';
import {
  BROKER_PERMISSIONS,
  checkBrokerPermissions,
  GITOPS_PERMISSIONS,
  type KubernetesPermission,
  NEVER,
} from '../../src/check/rights.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}
interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
}

const PLACES: Readonly<Record<string, string>> = { 'meshpass-system': 'release', 'istio-system': 'root' };

/** `where group/resource name verb` of each right of the broker. */
function granted(...files: readonly string[]): readonly string[] {
  const roles = files.flatMap((file) => {
    const url = new URL(`../../../../deploy/helm/meshpass/files/${file}`, import.meta.url);
    return parseAllDocuments(readFileSync(url, 'utf8')).map((document) => document.toJS() as Role);
  });
  return (
    roles
      .flatMap(({ metadata, rules = [] }) =>
        rules.flatMap(({ apiGroups: [group], resources, verbs, resourceNames = [''] }) =>
          resources.flatMap((resource) =>
            resourceNames.flatMap((name) =>
              verbs.map((verb) =>
                [PLACES[metadata.namespace ?? ''] ?? 'cluster', `${group}/${resource}`, name, verb].join(' '),
              ),
            ),
          ),
        ),
      )
      // Which roles may be handed out is the installation's own.
      .filter((one) => !one.endsWith(' bind'))
      .sort()
  );
}

function asked(rights: readonly KubernetesPermission[]): readonly string[] {
  return rights
    .flatMap(({ group, resource, verbs, where = 'cluster', name = '' }) =>
      verbs.map((verb) => [where, `${group}/${resource}`, name, verb].join(' ')),
    )
    .sort();
}

it("the expected rights are the chart's if the broker applies policies", () => {
  expect(asked(BROKER_PERMISSIONS)).toEqual(granted('broker-rbac.yaml', 'audit-checkpoint.yaml'));
});

it("the expected rights are the chart's if GitOps applies policies", () => {
  expect(asked(GITOPS_PERMISSIONS)).toEqual(granted('broker-rbac-gitops.yaml', 'audit-checkpoint.yaml'));
});

it('none of the forbidden rights is among them', () => {
  const given = new Set(asked(BROKER_PERMISSIONS));
  expect(asked(NEVER).filter((one) => given.has(one))).toEqual([]);
});

it.each([
  ['meshpass-system', ' in meshpass-system'],
  ['istio-system', ' in istio-system'],
  [undefined, ''],
])('a forbidden right is found even if it is granted in %s alone, and reported once', async (namespace, place) => {
  const isExcess = ({ group, resource, ...of }: Record<string, unknown>) =>
    group === '' && resource === 'secrets' && (namespace === undefined || of.namespace === namespace);
  const isWanted = ({ group, resource, subresource, verb, name = '', ...of }: Record<string, unknown>) => {
    const where = PLACES[String(of.namespace ?? '')] ?? 'cluster';
    const whole = subresource === undefined ? resource : `${resource}/${subresource}`;
    return asked(BROKER_PERMISSIONS).includes([where, `${group}/${whole}`, name, verb].join(' '));
  };
  const findings = await checkBrokerPermissions({
    http: {
      call: async ({ body }) => {
        const { resourceAttributes: of } = (body as { spec: { resourceAttributes: Record<string, unknown> } }).spec;
        return { status: 201, body: { status: { allowed: isWanted(of) || isExcess(of) } } };
      },
    },
    namespace: 'meshpass-system',
    rootNamespace: 'istio-system',
    istiod: 'istiod',
    gitops: false,
    now: Date.now,
    gateway: { namespace: 'meshpass-system', labels: {}, port: 15443 },
  });
  expect(findings.map(({ says }) => says)).toEqual(
    ['get', 'list', 'watch'].map(
      (verb) => `The broker can ${verb} secrets${place}, which exceeds the chart's RBAC rules.`,
    ),
  );
});

it('the expected admission policies are those of the chart', () => {
  const folder = new URL('../../../../deploy/helm/meshpass/files/', import.meta.url);
  const objects = readdirSync(folder).flatMap((file) =>
    parseAllDocuments(readFileSync(new URL(file, folder), 'utf8')).map((document) => document.toJS() as Role),
  );
  const names = objects.filter((one) => one?.kind === 'ValidatingAdmissionPolicy').map(({ metadata }) => metadata.name);
  expect([...ADMISSION_POLICIES].sort()).toEqual(names.sort());
});
