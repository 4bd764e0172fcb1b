/** Lints manifests for configurations that bypass a policy or expose a test route, and prints the findings. */
export {
  ALL_RULES,
  type LeftOut,
  type LintedCluster,
  type LintedFiles,
  type LintFile,
  lintFiles,
} from './lint/lint.ts';
export {
  type Baseline,
  type BaselineEntry,
  type DeclaredEntryPoint,
  type Finding,
  type LintOptions,
  type LintResult,
  type LintSettings,
  type RuleCode,
  type RuleText,
  SEVERITIES,
  type Severity,
  type SuppressedFinding,
} from './lint/model.ts';
export { printGithub } from './lint/print/github.ts';
export { printJson } from './lint/print/json.ts';
export { printSarif } from './lint/print/sarif.ts';
export { printText, type TextOptions } from './lint/print/text.ts';
export { formatBaseline } from './lint/settings/baseline.ts';
