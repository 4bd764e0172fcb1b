/**
 * Reads a test suite for an access file, which lists callers, calls and the expected results. The format is documented
 * in docs/policy.md.
 */

import { readYaml } from '@meshpass/access';
import { formatPlace } from '@meshpass/access/compile';
import { MeshpassError } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import { z } from 'zod';

/**
 * The call that a test case makes, such as `GET orders.shop:8080/orders/1`, or `ledger-db.shop:5432` for a TCP
 * connection.
 */
export interface CaseCall {
  readonly service: string;
  readonly namespace: string;
  readonly port: number;
  /** The HTTP request. Undefined for TCP ports. */
  readonly http?: { readonly method: string; readonly path: string };
}

/**
 * The caller in a test case: a workspace with a proof, the holder of a grant, a workload in the mesh, or a caller
 * without mutual TLS.
 */
export type CaseWho =
  | {
      readonly kind: 'proof';
      readonly issuer: string;
      readonly login?: string;
      readonly teams: readonly string[];
      /** Roles in organizations, such as `ORGANIZATION/admin`. */
      readonly roles: readonly string[];
      /** When the call is made, in Unix seconds. If undefined, the call is made outside all time windows. */
      readonly at?: number;
      readonly repository?: string;
      readonly ref?: string;
      readonly claims: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'grant'; readonly grant: string }
  | { readonly kind: 'workload'; readonly namespace: string; readonly account: string }
  | { readonly kind: 'plain' };

export interface PolicyCase {
  readonly place: Place;
  readonly name: string;
  readonly who: CaseWho;
  readonly call: CaseCall;
  readonly headers: Readonly<Record<string, string>>;
  /** Whether the workspace omits its identity token. */
  readonly tokenless: boolean;
  readonly expect: 'allowed' | 'refused';
  /** The grant (by name) or the policy (as NAMESPACE/NAME) that is expected to decide the call. */
  readonly by?: string;
}

/** A statement that must be true for every matching call, without exception. */
export interface PolicyProperty {
  readonly place: Place;
  readonly name: string;
  /**
   * The callers that the property covers: `workspaces`, `everybody`, a grant, or workloads in a namespace
   * (`NAMESPACE/*` or `NAMESPACE/ACCOUNT`).
   */
  readonly who:
    | { readonly kind: 'workspaces' | 'everybody' }
    | { readonly kind: 'grant'; readonly grant: string }
    | { readonly kind: 'workload'; readonly namespace: string; readonly account?: string };
  /** The HTTP method in policy notation. Undefined if the property covers all methods. */
  readonly method?: string;
  readonly path?: string;
  /**
   * The Service as `SERVICE.NAMESPACE` or `*.NAMESPACE`, optionally with a port. Undefined if the property covers all
   * ports.
   */
  readonly at?: { readonly service: string; readonly namespace: string; readonly port?: number };
  readonly expect: 'allowed' | 'refused';
}

export interface PolicySuite {
  readonly file: string;
  /** The paths of the manifests, relative to the suite file. */
  readonly manifests: readonly string[];
  readonly cases: readonly PolicyCase[];
  readonly properties: readonly PolicyProperty[];
}

const text = z.string().min(1).max(1024);
const expect = z.enum(['allowed', 'refused']);
const workload = text.regex(/^[a-z0-9-]+\/(?:\*|[a-z0-9.-]+)$/, 'expected NAMESPACE/ACCOUNT');
const one = z
  .strictObject({
    login: text.optional(),
    teams: z.array(text).max(100).optional(),
    roles: z.array(text).max(100).optional(),
    at: z.iso.datetime({ offset: true }).optional(),
    repository: text.optional(),
    ref: text.optional(),
    issuer: text.optional(),
    claims: z.record(z.string(), z.unknown()).optional(),
    grant: text.optional(),
    workload: workload.optional(),
    plain: z.literal(true).optional(),
  })
  .refine(({ grant, workload, plain, ...proof }) => {
    const given = [grant, workload, plain, Object.values(proof).find((value) => value !== undefined)];
    return given.filter((value) => value !== undefined).length === 1;
  }, 'expected a proof (login, teams, repository, issuer, claims), or one of grant, workload, plain');

const CALL = /^(?:(\S+) )?([a-z0-9-]+)\.([a-z0-9-]+):(\d{1,5})(\/\S*)?$/;
const EVERY = /^(\S+)(?: (?:(\*|[a-z0-9-]+)\.([a-z0-9-]+)(?::(\d{1,5}))?)?(\/\S*|\*\S*)?)?$/;

const schema = z.strictObject({
  manifests: z.array(text).max(100).default([]),
  cases: z
    .array(
      z.strictObject({
        name: text.optional(),
        who: one,
        call: text.regex(CALL, 'expected METHOD SERVICE.NAMESPACE:PORT/PATH, or SERVICE.NAMESPACE:PORT for TCP'),
        headers: z.record(z.string(), z.string()).default({}),
        token: z.literal('none').optional(),
        expect,
        by: text.optional(),
      }),
    )
    .max(10_000)
    .default([]),
  properties: z
    .array(
      z.strictObject({
        name: text.optional(),
        who: z.union([
          z.enum(['workspaces', 'everybody']),
          z.strictObject({ grant: text }),
          z.strictObject({ workload }),
        ]),
        call: text.regex(EVERY, 'expected METHOD [SERVICE.NAMESPACE[:PORT]]/PATH, with * for any'),
        expect,
      }),
    )
    .max(1_000)
    .default([]),
});

/**
 * Reads a test suite.
 * @param file the file name to use in error messages
 * @throws MeshpassError `policy_cases_invalid` with the FILE:LINE:COLUMN of every problem
 * @example
 * ```ts
 * import { readSuite } from '@meshpass/analysis/suite';
 * const suite = readSuite(`
 * cases:
 *   - name: the developer may read orders
 *     who: {grant: dev}
 *     call: GET orders.shop:80/orders
 *     expect: allowed`, 'policy-test.yaml');
 * suite.cases.map(({ name, expect }) => [name, expect]); // => [['the developer may read orders', 'allowed']]
 * ```
 */
export function readSuite(content: string, file: string): PolicySuite {
  const read = readYaml(content, file);
  if ('problems' in read) throw invalid(read.problems.map(({ place, message }) => `${formatPlace(place)} ${message}`));
  const parsed = schema.safeParse(read.yaml.value);
  if (!parsed.success) {
    throw invalid(
      parsed.error.issues.map((issue) => `${formatPlace(read.yaml.locate(issue.path, 'value'))} ${issue.message}`),
    );
  }
  const at = (...path: PropertyKey[]): Place => read.yaml.locate(path, 'value');
  return {
    file,
    manifests: parsed.data.manifests,
    cases: parsed.data.cases.map(({ name, who, call, token, ...rest }, index) => ({
      ...rest,
      place: at('cases', index),
      name: name ?? `${call} is ${rest.expect}`,
      who: toWho(who),
      call: toCall(call),
      tokenless: token === 'none',
    })),
    properties: parsed.data.properties.map((property, index) => toProperty(property, at('properties', index))),
  };
}

function toWho({ grant, workload, plain, ...proof }: z.output<typeof one>): CaseWho {
  if (plain) return { kind: 'plain' };
  if (grant !== undefined) return { kind: 'grant', grant };
  if (workload !== undefined) {
    const [namespace, account] = workload.split('/') as [string, string];
    return { kind: 'workload', namespace, account };
  }
  const { issuer = 'github', teams = [], roles = [], at, claims = {}, ...rest } = proof;
  const lower = (names: readonly string[]) => names.map((name) => name.toLowerCase());
  const seconds = at === undefined ? undefined : Math.floor(Date.parse(at) / 1000);
  return { ...rest, kind: 'proof', issuer, teams: lower(teams), roles: lower(roles), claims, at: seconds };
}

function toCall(written: string): CaseCall {
  const [, method, service, namespace, port, path] = CALL.exec(written)!;
  return {
    service: service!,
    namespace: namespace!,
    port: Number(port),
    http: method === undefined ? undefined : { method, path: path ?? '/' },
  };
}

function toProperty(
  { name, who, call, expect }: z.output<typeof schema>['properties'][number],
  place: Place,
): PolicyProperty {
  const [, method, service, namespace, port, path] = EVERY.exec(call)!;
  return {
    place,
    name: name ?? `${call} is ${expect}`,
    expect,
    who: toCallers(who),
    method: method === '*' ? undefined : method,
    path,
    at:
      service === undefined
        ? undefined
        : { service, namespace: namespace!, port: port === undefined ? port : Number(port) },
  };
}

function toCallers(who: z.output<typeof schema>['properties'][number]['who']): PolicyProperty['who'] {
  if (typeof who === 'string') return { kind: who };
  if ('grant' in who) return { kind: 'grant', grant: who.grant };
  const [namespace, account] = who.workload.split('/') as [string, string];
  return { kind: 'workload', namespace, account: account === '*' ? undefined : account };
}

function invalid(lines: readonly string[]): MeshpassError {
  return new MeshpassError('policy_cases_invalid', lines.join('\n'));
}
