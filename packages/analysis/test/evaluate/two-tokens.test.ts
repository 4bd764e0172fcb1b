/**
 * Evaluates the example of docs/identity/two-tokens.md, which test/sign-in/two-tokens.mesh.test.ts applies to a real
 * mesh.
 */
import { readFileSync } from 'node:fs';
import { loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { type Call, type CallToken, createAuthorizer, evaluate, findEndpoints } from '../../src/evaluate.ts';

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

const ours = { iss: BROKER, sub: 'github:1', aud: 'mesh', grants: ['dev'] };
const OURS: Record<string, CallToken | undefined> = {
  valid: { text: 'm.m.m', genuine: true, claims: ours },
  missing: undefined,
  changed: { text: 'm.m.m', genuine: false, claims: ours },
  'of another grant': { text: 'm.m.m', genuine: true, claims: { ...ours, grants: ['sre'] } },
};
const theirsOf = (issuer: string): Record<string, CallToken | undefined> => {
  const claims = { iss: issuer, sub: '00u1example', aud: 'orders-api' };
  return {
    valid: { text: 'u.u.u', genuine: true, claims },
    missing: undefined,
    'of another key': { text: 'u.u.u', genuine: false, claims },
    'for another audience': { text: 'u.u.u', genuine: true, claims: { ...claims, aud: 'another-api' } },
  };
};
const PAIRS = Object.keys(theirsOf('')).flatMap((user) => Object.keys(OURS).map((own) => [user, own] as const));

/**
 * Returns a request with these tokens.
 * @param forged whether the caller also sends the headers that the rule writes
 */
function callWith(issuer: string, user: string, own: string, forged: boolean): Call {
  const [theirs, mine] = [theirsOf(issuer)[user], OURS[own]];
  const headers = {
    ...(theirs && { authorization: `Bearer ${theirs.text}` }),
    ...(mine && { 'x-meshpass-token': mine.text }),
    ...(forged && { 'x-user-sub': '00u1example', 'x-user-issuer': issuer }),
  };
  return {
    port: 8080,
    principal: 'cluster.local/ns/meshpass-dev/sa/a',
    tokens: [theirs, mine].filter((one) => one !== undefined),
    http: { method: 'GET', path: '/orders/1', authority: 'orders.shop', headers },
  };
}

const FORMS = [
  ['with a configured issuer', 'https://accounts.example.com', EXAMPLE],
  [
    'with keys only',
    'https://login.example.com',
    EXAMPLE.replace(/- issuer: \S+\n +/, '- ').replaceAll('https://accounts.example.com', 'https://login.example.com'),
  ],
] as const;

describe.each(FORMS)('both tokens, %s', (_, issuer, example) => {
  const { resources, problems } = loadManifests(MESH + example, 'two-tokens.yaml');
  const view = viewMesh(resources);
  const authorizer = createAuthorizer(view, view.workloads[0]!);

  it('is loaded without a problem', () => {
    expect(problems).toEqual([]);
  });

  it.each(PAIRS)("the provider's %s, ours %s", (user, own) => {
    // Headers from the caller are removed.
    const decided = authorizer.decide(callWith(issuer, user, own, user !== 'valid'));
    expect(decided.allowed).toBe(user === 'valid' && own === 'valid');
    expect(decided.headersOfOlderEnvoy).toBeUndefined();
  });
});

describe('a configured issuer that sorts after the broker', () => {
  const issuer = 'https://login.example.com';
  const { resources } = loadManifests(
    MESH + EXAMPLE.replaceAll('https://accounts.example.com', issuer),
    'two-tokens.yaml',
  );
  const [endpoint] = findEndpoints(viewMesh(resources), 'orders.shop:8080');

  it.each(PAIRS)("allows no call: the provider's %s, ours %s", (user, own) => {
    expect(evaluate(endpoint!, callWith(issuer, user, own, false)).verdict).toBe('no');
  });

  it.each(PAIRS)(
    "is unknown if the caller forges its headers beside our valid token: the provider's %s, ours %s",
    (user, own) => {
      const { verdict, unknown, decision } = evaluate(endpoint!, callWith(issuer, user, own, true));
      expect(decision.allowed).toBe(false);
      // An older Envoy does not evaluate the rule, and leaves the caller's headers.
      const open = own === 'valid';
      expect(verdict).toBe(open ? 'unknown' : 'no');
      if (open) expect(unknown).toMatch(/x-user-sub, x-user-issuer.*Envoy 1\.40 and newer.*the answer is yes/);
    },
  );
});
