/**
 * Evaluates the last hop that Meshpass controls: the guard and the rules at the workload. If an access file is given,
 * the finding refers to the line in that file.
 */
import { type Access, formatOperation, formatPlace, type GrantTarget, matchesGlob } from '@meshpass/access/compile';
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import { normalizePath, templateTest } from '@meshpass/analysis/evaluate';
import type { ReachableService } from '@meshpass/identity/wire';
import { isTemplate } from '@meshpass/istio';
import { formatWantedCall, type WantedCall } from './call.ts';
import { type Hop, hop, type Verdict } from './explanation.ts';
import { evaluateForCaller, findTargets } from './judge.ts';
import { sessionAccess, UnknownOperationError } from './session-access.ts';

export interface RulesInput {
  readonly call: WantedCall;
  readonly known: ExplainResponse;
  readonly access?: Access | undefined;
}

/**
 * Evaluates a call against the access file or, if no file is given, against the broker's answer for the session.
 * @throws MeshpassError `access_*` if the grant cannot be compiled
 */
export function rulesHop(to: ReachableService, { call, known, access }: RulesInput): Hop {
  const { grant } = to;
  try {
    const used = access ?? sessionAccess([to]);
    const entry = used.grants.find(({ name }) => name === grant);
    const [target, ...others] = entry ? findTargets(entry, to) : [];
    if (!entry || !target) return notInFile(to, used, entry !== undefined);
    const { allowed, answers } = evaluateForCaller(used, grant, to, call, known);
    const place = access && formatPlace(target.place);
    const more = others.length > 0 ? ' (first of several entries)' : '';
    const said = (verdict: Verdict, reason: string) => hop('workload', verdict, reason, place);
    if (allowed === 'yes') return said('allowed', `${whyAllowed(call, target, grant)}${more}`);
    const [answer] = answers;
    if (allowed !== 'no') return said('unknown', answer?.unknown ?? 'its workloads differ');
    return said('refused', `${whyRefused(call, target, to, known)}${more}`);
  } catch (error) {
    if (!(error instanceof UnknownOperationError)) throw error;
    return hop('workload', 'unknown', `${JSON.stringify(error.message)} of grant ${grant} cannot be evaluated here`);
  }
}

function notInFile({ host, port, grant }: ReachableService, { file }: Access, hasGrant: boolean): Hop {
  const reason = hasGrant
    ? `grant ${grant} of ${file} does not list ${host}:${port}: an entry that selects by label or pattern may contain it, which only the mesh knows`
    : `${file} has no grant ${grant}, so it is not the file in effect`;
  return hop('workload', 'unknown', reason);
}

function whyAllowed(call: WantedCall, { allow, require }: GrantTarget, grant: string): string {
  if (!allow) return `grant ${grant} allows the whole port${require ? ", with your token's claims" : ''}`;
  const operation = allow.find((one) => meets(one, call));
  return `grant ${grant} allows ${formatWantedCall(call)}${operation ? ` by ${formatOperation(operation)}` : ''}`;
}

function whyRefused(
  call: WantedCall,
  target: GrantTarget,
  { grant, allow: told }: ReachableService,
  known: ExplainResponse,
): string {
  const what = formatWantedCall(call);
  const denied = target.deny?.find((one) => meets(one, call));
  if (denied) return `grant ${grant} denies ${formatOperation(denied)}`;
  const operation = target.allow?.find((one) => meets(one, call));
  const demands = { ...target.require, ...operation?.require };
  if ((operation || !target.allow) && Object.keys(demands).length > 0) {
    const wanted = Object.entries(demands).map(([name, values]) => `${name} ${values.join(' or ')}`);
    const read = typeof known.claims.iss === 'string' ? 'your token does not have them' : 'your token cannot be read';
    return `grant ${grant} allows ${what} only with ${wanted.join(' and ')}, and ${read}`;
  }
  const listed = told ?? target.allow?.map(formatOperation) ?? [];
  const shown = listed.slice(0, SHOWN).join(', ');
  const rest = listed.length > SHOWN ? ` and ${listed.length - SHOWN} more` : '';
  return `grant ${grant} does not allow ${what}, only: ${shown}${rest}`;
}

const SHOWN = 10;

/**
 * Whether an operation in the access file covers the call. `explain` uses this to describe the evaluator's decision,
 * and `--patch` uses it to refuse calls that the file denies or requires claims for.
 */
export function meets({ method, path }: { readonly method: string; readonly path: string }, call: WantedCall): boolean {
  if (method !== '*' && method !== call.method) return false;
  const asked = normalizePath(call.path, 'BASE');
  if (asked === undefined) return false;
  const bare = asked.split('?')[0]!;
  if (isTemplate(path)) return templateTest(path)?.(bare) ?? false;
  return path.endsWith('*') ? matchesGlob(path, bare) : path === bare;
}
