/** Coverage of a test suite: elements that decided a case, and elements that did not decide any. */

import { formatOperation, formatPlace, type ResolvedGrant } from '@meshpass/access/compile';
import { ofKind, type Resource } from '@meshpass/istio';
import { parsePathTest, passesTest } from '../diff/formula/text-test.ts';
import type { CaseCall } from './read-suite.ts';

/** Elements that decided at least one case. */
export interface CoveredElements {
  /** Positions of `who` entries, FILE:LINE:COLUMN. */
  readonly who: Set<string>;
  /** Granted ports, as JSON of the grant and the call. */
  readonly ports: Set<string>;
  /** NAMESPACE/NAME#RULE of policies that Meshpass did not create. */
  readonly rules: Set<string>;
}

export interface Coverage {
  readonly covered: number;
  readonly total: number;
  /** Elements that did not decide any case, as FILE:LINE and a description. */
  readonly missed: readonly string[];
}

/** Computes which entries, granted ports and rules are covered by the cases. */
export function computeCoverage(
  grants: readonly ResolvedGrant[],
  others: readonly Resource[],
  touched: CoveredElements,
): Coverage {
  const calls = [...touched.ports].map((one) => JSON.parse(one) as [string, CaseCall]);
  const entries: { readonly what: string; readonly covered: boolean }[] = [];
  for (const { grant, targets } of grants) {
    for (const { place } of grant.who) {
      const at = formatPlace(place);
      entries.push({ what: `${at} who may use ${grant.name}`, covered: touched.who.has(at) });
    }
    for (const { target, service, port } of targets) {
      const here = calls.filter(
        ([name, call]) =>
          name === grant.name &&
          call.service === service.name &&
          call.namespace === service.namespace &&
          call.port === port.port,
      );
      const at = `${target.place.file}:${target.place.line}`;
      for (const operation of target.allow ?? [undefined]) {
        const covered = here.some(([, { http }]) => {
          if (!operation) return true;
          const { method, path } = operation;
          return (
            http !== undefined && (method === '*' || method === http.method) && takesPath(path, http.path.split('?')[0])
          );
        });
        entries.push({
          what: `${at} ${operation ? formatOperation(operation) : `all of ${service.name}.${service.namespace}:${port.port}`} of ${grant.name}`,
          covered,
        });
      }
    }
  }
  for (const policy of ofKind(others, 'AuthorizationPolicy')) {
    const { metadata, origin, spec } = policy;
    if (spec.action === 'AUDIT') continue;
    (spec.rules ?? []).forEach((_, index) => {
      const name = `${metadata.namespace}/${metadata.name}`;
      const { file, line } = origin.at(['spec', 'rules', index]);
      entries.push({
        what: `${file}:${line} rule ${index + 1} of ${name}`,
        covered: touched.rules.has(`${name}#${index}`),
      });
    });
  }
  const missed = entries.filter(({ covered }) => !covered).map(({ what }) => what);
  return { covered: entries.length - missed.length, total: entries.length, missed };
}

function takesPath(pattern: string, path: string | undefined): boolean {
  const test = parsePathTest(pattern);
  return test !== undefined && passesTest(test, path);
}
