/** Measures the coverage of a test suite: which `who` entries, granted ports and rules decided at least one case. */

import { formatOperation, formatPlace, type ResolvedGrant } from '@meshpass/access/compile';
import { ofKind, type Resource } from '@meshpass/istio';
import { parsePathTest, passesTest } from '../diff/formula/text-test.ts';
import type { CaseCall } from './read-suite.ts';

/** The elements that decided at least one case. */
export interface CoveredElements {
  /** The positions of `who` entries, as FILE:LINE:COLUMN. */
  readonly who: Set<string>;
  /** Granted ports, each identified by the grant's name and the call, as JSON. */
  readonly ports: Set<string>;
  /** Rules of policies that Meshpass did not create, as NAMESPACE/NAME#RULE. */
  readonly rules: Set<string>;
}

export interface Coverage {
  readonly covered: number;
  readonly total: number;
  /** The elements that did not decide any case, each as FILE:LINE followed by a description. */
  readonly missed: readonly string[];
}

/** Computes which `who` entries, granted ports and rules the test cases cover. */
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
        what: `${file}:${line} rule ${index} of ${name}`,
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
