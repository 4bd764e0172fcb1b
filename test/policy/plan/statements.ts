/** Reads a plan as its reader does: which calls its sentences say are gained, lost, or not known. */
import type { Plan } from '@meshpass/analysis/plan';
import { type Call, LEVELS } from './files.ts';

/** Name of a call, for comparison and for messages. */
export const nameOf = (call: Call): string => call.filter(Boolean).join(' ');

/**
 * Calls that work once a plan is applied, if those of `before` do now.
 * @returns without calls about which the plan says that it does not know
 */
export function statedBy(
  plan: Pick<Plan, 'reach' | 'findings'>,
  before: ReadonlyMap<Call, boolean>,
): Map<Call, boolean> {
  const unknown = new Set(unknownPorts(plan));
  const says = (call: Call, does: 'gains' | 'loses') =>
    plan.reach.some(
      (one) => one.grant === call[0] && one.does === does && one.service === portOf(call) && covers(one.what, call),
    );
  return new Map(
    [...before].flatMap(([call, works]) => {
      if (unknown.has(portOf(call))) return [];
      const [gains, loses] = [says(call, 'gains'), says(call, 'loses')];
      if (gains && works) throw new Error(`the plan says that ${nameOf(call)} is gained, but it works already`);
      if (loses && !works) throw new Error(`the plan says that ${nameOf(call)} is lost, but it does not work`);
      return [[call, gains || (works && !loses)] as const];
    }),
  );
}

/** Ports about which a plan says that it does not know whether grants work there. */
export function unknownPorts({ findings }: Pick<Plan, 'findings'>): readonly string[] {
  const ports = findings.flatMap(({ kind, message }) =>
    kind === 'not-known' ? (/ works on (\S+),/.exec(message)?.[1] ?? []) : [],
  );
  return [...new Set(ports)].sort();
}

function portOf([, , target]: Call): string {
  return target.split('#')[0]!;
}

/** Whether `GET /orders/*`, `any but DELETE on any path without claim attested.level senior`, `connections` or `every call` include a call. */
function covers(what: string, [, method, , path, token = 'senior']: Call): boolean {
  if (what === 'connections' || method === 'TCP') return what === 'connections' && method === 'TCP';
  const read =
    /^(every call|(any method|(?:any but )?[A-Z]+(?:, [A-Z]+)*) (on any path|(?:any but )?\/.*?))((?:,? with(?:out)? claim \S+ \w+)*)$/.exec(
      what,
    );
  if (!read) throw new Error(`"${what}" has an unknown form`);
  const [, calls, methods = '', paths = '', claims = ''] = read;
  const meets = [...claims.matchAll(/(with|without) claim attested\.level (\w+)/g)].every(
    ([, has, level]) => LEVELS[token].includes(level!) === (has === 'with'),
  );
  if (!meets || calls === 'every call') return meets;
  return (
    (methods === 'any method' || listed(methods, (one) => one === method)) &&
    (paths === 'on any path' || listed(paths, (one) => pattern(one).test(path)))
  );
}

/** Reads `a, b`, `any but a, b`, and `a but not b or c`. */
function listed(text: string, isMeant: (one: string) => boolean): boolean {
  const except = text.startsWith('any but ');
  const values = text.replace('any but ', '').split(', ');
  const meets = (value: string) => {
    const [wide, but = ''] = value.split(' but not ');
    return isMeant(wide!) && !but.split(' or ').some((one) => one !== '' && isMeant(one));
  };
  return values.some(meets) !== except;
}

function pattern(path: string): RegExp {
  const escaped = path.replaceAll(/[.+?^$()|[\]\\]/g, '\\$&');
  return new RegExp(
    `^${escaped
      .replaceAll('{**}', '.+')
      .replaceAll('{*}', '[^/]+')
      .replace(/(?<!\.)\*$/, '.*')}$`.replaceAll('{', '\\{'),
  );
}
