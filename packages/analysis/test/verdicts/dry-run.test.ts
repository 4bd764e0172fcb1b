/** Every spelling of `istio.io/dry-run` is a dry run for all commands, or for none. */
import { describe, expect, it } from 'vitest';
import { lint } from '../../src/lint/lint.ts';
import { compiledAllows, differences, mayCall, ORDERS, read } from './commands.ts';

/** Results of Go's strconv.ParseBool. */
const SPELLINGS: readonly (readonly [string, boolean])[] = [
  ...(['1', 't', 'T', 'true', 'TRUE', 'True'] as const).map((text) => [text, true] as const),
  ...(['0', 'false', 'False', 'yes', 'on', 'tRUE', ' true', ''] as const).map((text) => [text, false] as const),
];

const policy = (spelling: string, spec: string, kind = 'AuthorizationPolicy') => `---
apiVersion: security.istio.io/v1
kind: ${kind}
metadata: {name: theirs, namespace: shop, annotations: {istio.io/dry-run: ${JSON.stringify(spelling)}}}
spec: ${spec}
`;

describe.each(SPELLINGS)('istio.io/dry-run: %j', (spelling, dry) => {
  const open = read(ORDERS);
  const allowed = read(ORDERS + policy(spelling, '{action: ALLOW, rules: [{from: [{source: {namespaces: [else]}}]}]}'));
  const denied = read(ORDERS + policy(spelling, '{action: DENY, rules: [{}]}'));

  it(dry ? 'refuses no caller, for can-i' : 'is in force, for can-i', () => {
    expect(mayCall(allowed)).toBe(dry);
    expect(mayCall(denied)).toBe(dry);
  });

  it(dry ? 'changes nothing, for diff' : 'is a change, for diff', () => {
    expect(differences(open, allowed).length === 0).toBe(dry);
    expect(differences(open, denied).length === 0).toBe(dry);
  });

  it(dry ? 'is not an ALLOW that compile adds another to' : 'is an ALLOW that compile adds another to', () => {
    expect(compiledAllows(allowed)).toHaveLength(dry ? 0 : 1);
  });

  it('is reported by lint', () => {
    const codes = (mesh: typeof open) => lint(mesh, { now: 0 }).findings.map(({ code }) => code);
    expect(codes(denied).includes('MP315')).toBe(dry);
  });

  it('is in force on a RequestAuthentication, which has no dry run', () => {
    const tokens = policy(spelling, '{jwtRules: [{issuer: "https://a.example", jwks: "{}"}]}', 'RequestAuthentication');
    const demands = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: demands, namespace: shop}
spec: {action: ALLOW, rules: [{from: [{source: {requestPrincipals: ["https://a.example/*"]}}]}]}
`;
    // With the issuer's keys, its tokens are accepted.
    expect(differences(read(ORDERS + demands), read(ORDERS + demands + tokens))).not.toEqual([]);
  });
});

it('does not report that an ALLOW in dry run closes a port', () => {
  const two = ORDERS.replace('port: 8080}', 'port: 8080}, {name: tcp, port: 9090}');
  const only =
    '{selector: {matchLabels: {app: orders}}, action: ALLOW, rules: [{to: [{operation: {ports: ["8080"]}}]}]}';
  const codes = (spelling: string) =>
    lint(read(two + policy(spelling, only)), { now: 0 }).findings.map(({ code }) => code);
  expect(codes('T')).not.toContain('MP305');
  expect(codes('no')).toContain('MP305');
});
