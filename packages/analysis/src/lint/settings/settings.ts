/**
 * Applies the settings of a linter run: severities, the words that indicate test routes, and entry points that are left
 * open on purpose.
 */
import { listed } from '@meshpass/istio/members';
import {
  type AppliedSettings,
  type Finding,
  type LintSettings,
  objectName,
  SEVERITIES,
  type SuppressionMatcher,
} from '../model.ts';

/** The rules whose findings can be accepted by declaring an entry point. */
const ENTRY_POINT_RULES: ReadonlySet<string> = new Set(['MP101', 'MP102', 'MP701', 'MP702']);

/**
 * Creates a filter that applies the settings to findings. A declared entry point accepts findings about it, with a
 * reason and an owner. If a rule is disabled, all of its findings are accepted.
 */
export function createSettingsFilter({ file, severities, entryPoints, testWords, testLabels }: LintSettings): {
  readonly accept: SuppressionMatcher;
  /** Replaces the severity of a finding that was not accepted. */
  readonly grade: (finding: Finding) => Finding;
  /** Returns how the settings have weakened the run. */
  readonly applied: () => AppliedSettings;
} {
  const weakened = new Map<string, number>();
  return {
    accept: ({ code, severity, object }) => {
      const entryPoint = ENTRY_POINT_RULES.has(code)
        ? entryPoints.find((one) => objectName({ object: one }) === objectName({ object }))
        : undefined;
      if (entryPoint) return { place: entryPoint.place, reason: entryPoint.reason, owner: entryPoint.owner };
      const rule = severities.get(code);
      if (rule && isLowerSeverity(rule.severity, severity)) weakened.set(code, (weakened.get(code) ?? 0) + 1);
      return rule?.severity === 'off' ? { place: rule.place, reason: rule.reason } : undefined;
    },
    grade: (finding) => {
      const severity = severities.get(finding.code)?.severity;
      return severity === undefined || severity === 'off' ? finding : { ...finding, severity };
    },
    applied: () => ({
      file,
      weakened: [...severities]
        .filter(([code, rule]) => rule.isLower || weakened.has(code))
        .map(([code, { severity, reason }]) => ({ code, severity, reason, findings: weakened.get(code) ?? 0 })),
      removed: [...testWords.remove, ...testLabels.remove],
    }),
  };
}

/** Checks whether one severity is lower than another. The lowest severity is `off`. */
export function isLowerSeverity(severity: LintedSeverity, than: LintedSeverity): boolean {
  return ORDER.indexOf(severity) < ORDER.indexOf(than);
}

const ORDER = ['off', ...SEVERITIES] as const;
type LintedSeverity = (typeof ORDER)[number];

/** Describes, in a single line, which settings were read and what they weaken. */
export function describeSettings({ file, weakened, removed }: AppliedSettings): string {
  const rules = weakened.map(({ code, severity, reason, findings }) => {
    const effect = severity === 'off' ? `${code} is off` : `${code} is lowered to ${severity}`;
    const number = `${findings} finding${findings === 1 ? '' : 's'} ${severity === 'off' ? 'hidden' : 'lowered'}`;
    return `${effect} (${number}${reason === '' ? '' : `: ${reason}`})`;
  });
  const words = removed.length === 0 ? [] : [`test words and labels removed: ${listed(removed, 20)}`];
  return [file, ...rules, ...words].join('; ');
}
