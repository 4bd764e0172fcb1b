/** Settings of a linter run: severities, the vocabulary of test routes, and entry points that are meant to be open. */
import { listed } from '@meshpass/istio/members';
import {
  type AppliedSettings,
  type DeclaredEntryPoint,
  type Finding,
  type LintSettings,
  SEVERITIES,
  type SuppressedFinding,
} from '../model.ts';

/** Findings before and after settings and a baseline apply. */
export interface Sorted {
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
}

/** Rules whose findings a declared entry point answers. */
const ENTRY_POINT_RULES: ReadonlySet<string> = new Set(['MP101', 'MP102', 'MP701', 'MP702']);

/**
 * Applies settings to findings. A declared entry point suppresses its findings, with its reason and owner, and a rule
 * that is off suppresses all of its findings.
 * @returns also what the settings take away
 */
export function applySettings(
  { findings, suppressed }: Sorted,
  settings: LintSettings,
): Sorted & { readonly settings: AppliedSettings } {
  const open: Finding[] = [];
  const accepted: SuppressedFinding[] = [];
  const weakened = new Map<string, number>();
  for (const finding of findings) {
    const entryPoint = ENTRY_POINT_RULES.has(finding.code)
      ? settings.entryPoints.find((one) => isSame(one, finding.object))
      : undefined;
    const rule = settings.severities.get(finding.code);
    if (entryPoint) {
      const { place, reason, owner } = entryPoint;
      accepted.push({ ...finding, suppressedBy: { place, reason, owner } });
      continue;
    }
    if (rule && isLower(rule.severity, finding.severity)) {
      weakened.set(finding.code, (weakened.get(finding.code) ?? 0) + 1);
    }
    if (rule?.severity === 'off') {
      accepted.push({ ...finding, suppressedBy: { place: rule.place, reason: rule.reason } });
    } else open.push(rule ? { ...finding, severity: rule.severity } : finding);
  }
  return {
    findings: open,
    suppressed: [...suppressed, ...accepted],
    settings: {
      file: settings.file,
      weakened: [...settings.severities]
        .filter(([code, rule]) => rule.isLower || weakened.has(code))
        .map(([code, { severity, reason }]) => ({ code, severity, reason, findings: weakened.get(code) ?? 0 })),
      removed: [...settings.testWords.remove, ...settings.testLabels.remove],
    },
  };
}

/** Whether one severity is lower than another; `off` is lower than all. */
export function isLower(severity: LintedSeverity, than: LintedSeverity): boolean {
  return ORDER.indexOf(severity) < ORDER.indexOf(than);
}

const ORDER = ['off', ...SEVERITIES] as const;
type LintedSeverity = (typeof ORDER)[number];

/** Describes in one line which settings were read, and what they take away. */
export function describeSettings({ file, weakened, removed }: AppliedSettings): string {
  const rules = weakened.map(({ code, severity, reason, findings }) => {
    const effect = severity === 'off' ? `${code} is off` : `${code} is lowered to ${severity}`;
    const number = `${findings} finding${findings === 1 ? '' : 's'} ${severity === 'off' ? 'hidden' : 'lowered'}`;
    return `${effect} (${number}${reason === '' ? '' : `: ${reason}`})`;
  });
  const words = removed.length === 0 ? [] : [`test words and labels removed: ${listed(removed, 20)}`];
  return [file, ...rules, ...words].join('; ');
}

function isSame(
  one: Pick<DeclaredEntryPoint, 'kind' | 'namespace' | 'name'>,
  { kind, namespace, name }: Finding['object'],
): boolean {
  return one.kind === kind && one.namespace === namespace && one.name === name;
}
