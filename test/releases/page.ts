/** The releases that Meshpass is tested with, and docs/testing/releases.md. */

export interface Release {
  readonly istio: string;
  readonly kubernetes: string;
  /** What selects it in the lab (`MESHPASS_LAB_ISTIO`, `MESHPASS_LAB_KUBERNETES`); empty for the lab's default. */
  readonly istioFolder: string;
  readonly kubernetesFolder: string;
}

/** The first is what CI runs. */
export const RELEASES: readonly Release[] = [
  { istio: '1.31.0', kubernetes: '1.34.0', istioFolder: '', kubernetesFolder: '' },
  { istio: '1.30.0', kubernetes: '1.34.0', istioFolder: '1.30', kubernetesFolder: '' },
  { istio: '1.29.0', kubernetes: '1.34.0', istioFolder: '1.29', kubernetesFolder: '' },
  { istio: '1.31.0', kubernetes: '1.33.5', istioFolder: '', kubernetesFolder: '1.33' },
  { istio: '1.31.0', kubernetes: '1.32.9', istioFolder: '', kubernetesFolder: '1.32' },
];

/** Suites besides the quickstart. */
export const SUITES = [
  { name: 'Drill', project: 'mesh', path: 'test/ends/drill.mesh.test.ts' },
  { name: 'Hostile', project: 'mesh', path: 'test/hostile/hostile.mesh.test.ts' },
  { name: 'Fidelity', project: 'mesh', path: 'test/fidelity/fidelity.mesh.test.ts' },
  { name: 'Install page', project: 'cluster', path: 'test/install/install.cluster.test.ts' },
] as const;

/** What is read of Vitest's JSON report. */
export interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/** @returns `12 passed`, or `11 passed, 1 failed`; a file that did not load is one failure */
export function resultOf(reports: readonly VitestReport[], file: string): string {
  const found = reports.flatMap(({ testResults }) => testResults).filter(({ name }) => name === file);
  const tests = found.flatMap(({ assertionResults }) => assertionResults);
  const passed = tests.filter(({ status }) => status === 'passed').length;
  const unloaded = found.length === 0 || (found.some(({ status }) => status === 'failed') && passed === tests.length);
  const failed = tests.length - passed + (unloaded ? 1 : 0);
  return failed === 0 ? `${passed} passed` : `${passed} passed, ${failed} failed`;
}

const HEAD = ['Istio', 'Kubernetes', 'Envoy', 'Commit', 'Quickstart', ...SUITES.map(({ name }) => name), 'Minutes'];

/** @param page its text. @returns the cells of each row of its table */
export function rowsOf(page: string): readonly (readonly string[])[] {
  const lines = page.split('\n').filter((line) => /^\| \d/.test(line));
  return lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** @param row takes the place of the one with the same releases */
export function releasesPage(rows: readonly (readonly string[])[], row: readonly string[]): string {
  const of = ({ istio, kubernetes }: Release) =>
    [row, ...rows].filter(([first, second]) => first === istio && second === kubernetes).slice(0, 1);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return `${[
    '# Releases of Istio and Kubernetes',
    '',
    'Suites that ran on each release, with what passed. `npm run versions` makes the table; do not edit it. CI runs the whole test suite on',
    'the first row only. Proxies are upstream Envoy, not the build that Istio gives out.',
    '',
    line(HEAD),
    line(HEAD.map(() => '---')),
    ...RELEASES.flatMap(of).map(line),
    '',
    'The lab builds each release from its Go modules (`lab/tools`). To run it on another one:',
    '',
    '    MESHPASS_LAB_ISTIO=1.30 MESHPASS_LAB_KUBERNETES=1.33 npm run quickstart',
    '',
  ].join('\n')}`;
}
