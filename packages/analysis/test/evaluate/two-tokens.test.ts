/** The evaluator on the example of docs/identity/two-tokens.md, which test/sign-in/two-tokens.mesh.test.ts applies to a real mesh. */
import { readFileSync } from 'node:fs';
import { loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { type CallToken, createAuthorizer } from '../../src/evaluate.ts';

const BROKER = 'https://broker.example.com';
const EXAMPLE = /```yaml\n([\s\S]*?)```/.exec(
  readFileSync(new URL('../../../../docs/identity/two-tokens.md', import.meta.url), 'utf8'),
)![1]!;
const MESH = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: meshpass, namespace: istio-system}
spec:
  jwtRules: [{issuer: "${BROKER}", audiences: [mesh], jwks: '{"keys":[]}', fromHeaders: [{name: x-meshpass-token}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: meshpass-dev.orders.8080, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  action: DENY
  rules:
    - from: [{source: {notRequestPrincipals: ["${BROKER}/*"]}}]
    - when: [{key: "request.auth.claims[grants]", notValues: [dev]}]
---
`;

const FORMS = [
  ['with the issuer named', 'https://accounts.example.com', EXAMPLE],
  [
    'with the keys alone',
    'https://login.example.com',
    EXAMPLE.replace(/- issuer: \S+\n +/, '- ').replaceAll('https://accounts.example.com', 'https://login.example.com'),
  ],
] as const;

describe.each(FORMS)('both tokens, %s', (_, issuer, example) => {
  const { resources, problems } = loadManifests(MESH + example, 'two-tokens.yaml');
  const view = viewMesh(resources);
  const authorizer = createAuthorizer(view, view.workloads[0]!);
  const ours = { iss: BROKER, sub: 'github:1', aud: 'mesh', grants: ['dev'] };
  const theirs = { iss: issuer, sub: '00u1example', aud: 'orders-api' };
  const OURS: Record<string, CallToken | undefined> = {
    valid: { text: 'm.m.m', genuine: true, claims: ours },
    missing: undefined,
    changed: { text: 'm.m.m', genuine: false, claims: ours },
    'of another grant': { text: 'm.m.m', genuine: true, claims: { ...ours, grants: ['sre'] } },
  };
  const THEIRS: Record<string, CallToken | undefined> = {
    valid: { text: 'u.u.u', genuine: true, claims: theirs },
    missing: undefined,
    'of another key': { text: 'u.u.u', genuine: false, claims: theirs },
    'for another audience': { text: 'u.u.u', genuine: true, claims: { ...theirs, aud: 'another-api' } },
  };

  it('is read without a problem', () => {
    expect(problems).toEqual([]);
  });

  it.each(Object.keys(THEIRS).flatMap((user) => Object.keys(OURS).map((own) => [user, own] as const)))(
    'the provider’s %s, ours %s',
    (user, own) => {
      const tokens = [THEIRS[user], OURS[own]].filter((one) => one !== undefined);
      const headers = {
        ...(THEIRS[user] && { authorization: `Bearer ${THEIRS[user].text}` }),
        ...(OURS[own] && { 'x-meshpass-token': OURS[own].text }),
        // What the caller writes there is removed.
        ...(user !== 'valid' && { 'x-user-sub': theirs.sub, 'x-user-issuer': issuer }),
      };
      const decided = authorizer.decide({
        ...{ port: 8080, principal: 'cluster.local/ns/meshpass-dev/sa/a', tokens },
        http: { method: 'GET', path: '/orders/1', authority: 'orders.shop', headers },
      });
      expect(decided.allowed).toBe(user === 'valid' && own === 'valid');
    },
  );
});
