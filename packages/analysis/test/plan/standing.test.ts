/** A grant that already does not work does not prevent a change that keeps it. */
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { formatPlan } from '../../src/plan/format.ts';
import { planChange, refusals } from '../../src/plan/plan.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const service = (name: string, namespace: string) =>
  `---\n{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: ${namespace}}, spec: {selector: {app: ${name}}, ports: [{name: http, port: 80}]}}\n`;
const AMBIENT =
  '---\n{apiVersion: v1, kind: Namespace, metadata: {name: ambient, labels: {istio.io/dataplane-mode: ambient}}}\n';
const DENY =
  '---\n{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: deny, namespace: shop}, spec: {selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}}\n';
const SERVICES = service('old', 'ambient') + service('orders', 'shop') + service('web', 'shop');

const file = (old: string, more = '') =>
  parseAccess(
    `trust: {codespaces: {organization: acme}}\ngrants:${more}\n  old:\n    who: [{user: bob}]\n    to: ${old}\n`,
    'access.yaml',
  );
const BROKEN = '[{service: old.ambient, port: 80, allow: [GET /]}]';
const WEB = '\n  web: {who: [{user: ann}], to: [{service: web.shop, port: 80}]}';

function planned(inForce: ReturnType<typeof file> | undefined, access: ReturnType<typeof file>, cluster = '') {
  const { resources } = loadManifests(SERVICES + AMBIENT + cluster, 'cluster.yaml');
  return planChange({ access, inForce, cluster: resources, shape: SHAPE, tokens: TOKENS });
}
const refused = (...args: Parameters<typeof planned>) => refusals(planned(...args)).map(({ message }) => message);

const AMBIENT_GRANT = ['grant old does not work on old.ambient:80'];

it('notes the grant, and does not claim that every grant works', () => {
  // The other grant also moves it to another line.
  const plan = planned(file(BROKEN, WEB), file(BROKEN));
  expect(refusals(plan)).toEqual([]);
  expect(plan.findings).toMatchObject([
    { kind: 'note', grant: 'old', message: 'as by the file in force, grant old does not work on old.ambient:80' },
  ]);
  expect(formatPlan(plan, 'text')).toContain('Every grant works, workspaces reach nothing more');
  expect(formatPlan(plan, 'text')).toContain('except for the ports in the notes.');
});

it('may remove entries of the grant', () => {
  const both = '[{service: old.ambient, port: 80, allow: [GET /]}, {service: web.shop, port: 80}]';
  expect(refused(file(both), file(BROKEN))).toEqual([]);
});

it.each([
  ['it is new', undefined, BROKEN],
  ['it did not exist before', '[{service: web.shop, port: 80}]', BROKEN],
  ['an operation is added', BROKEN, '[{service: old.ambient, port: 80, allow: [GET /, POST /]}]'],
  [
    'a claim called place differs',
    '[{service: old.ambient, port: 80, require: {place: [a]}}]',
    '[{service: old.ambient, port: 80, require: {place: [b]}}]',
  ],
  ['an entry is added', BROKEN, '[{service: old.ambient, port: 80, allow: [GET /]}, {service: web.shop, port: 80}]'],
])('refuses the change if %s', (_, before, after) => {
  expect(refused(before === undefined ? undefined : file(before), file(after))).toEqual(AMBIENT_GRANT);
});

it('refuses a change that breaks another grant', () => {
  const orders = (allow: string) =>
    `\n  orders: {who: [{user: ann}], to: [{service: orders.shop, port: 80, allow: [${allow}]}]}`;
  expect(refused(file(BROKEN, orders('GET /')), file(BROKEN, orders('GET /, POST /')), DENY)).toEqual([
    expect.stringMatching(/^grant orders does not work: POST \/ is refused on orders in shop/),
  ]);
  expect(refused(file(BROKEN, orders('POST /')), file(BROKEN, orders('POST /') + WEB), DENY)).toEqual([]);
});

it('refuses the grant if the file in force cannot be planned, because it names a Service that is gone', () => {
  const gone = '\n  gone: {who: [{user: ann}], to: [{service: gone.shop, port: 80}]}';
  expect(refused(file(BROKEN, gone), file(BROKEN))).toEqual(AMBIENT_GRANT);
});
