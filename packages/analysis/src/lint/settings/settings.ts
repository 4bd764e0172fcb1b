/** Settings of a linter run: severities, the vocabulary of test routes, and entry points that are meant to be open. */
import type { DeclaredEntryPoint, Finding, LintSettings, SuppressedFinding } from '../model.ts';

/** Findings before and after settings and a baseline apply. */
export interface Sorted {
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
}

/** Rules whose findings a declared entry point answers. */
const ENTRY_POINT_RULES: ReadonlySet<string> = new Set(['MP101', 'MP102', 'MP701', 'MP702']);

/** Applies settings to findings: a declared entry point suppresses its findings, with its reason and owner. */
export function applySettings({ findings, suppressed }: Sorted, settings: LintSettings): Sorted {
  const open: Finding[] = [];
  const accepted: SuppressedFinding[] = [];
  for (const finding of findings) {
    const by = ENTRY_POINT_RULES.has(finding.code)
      ? settings.entryPoints.find((one) => isSame(one, finding.object))
      : undefined;
    if (by) {
      const { place, reason, owner } = by;
      accepted.push({ ...finding, suppressedBy: { place, reason, owner } });
    } else open.push(finding);
  }
  const withSeverity = <T extends Finding>(one: T): readonly T[] => {
    const severity = settings.severities.get(one.code);
    if (severity === 'off') return [];
    return [severity === undefined ? one : { ...one, severity }];
  };
  return { findings: open.flatMap(withSeverity), suppressed: [...suppressed, ...accepted].flatMap(withSeverity) };
}

function isSame(
  one: Pick<DeclaredEntryPoint, 'kind' | 'namespace' | 'name'>,
  { kind, namespace, name }: Finding['object'],
): boolean {
  return one.kind === kind && one.namespace === namespace && one.name === name;
}
