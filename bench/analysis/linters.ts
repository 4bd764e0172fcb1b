/**
 * `npm run linters`: writes docs/testing/linters.md, which compares what this linter, the real `istioctl analyze`, and Kiali
 * (by its documentation) find in the corpus of bad manifests.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ALL_RULES } from '@meshpass/analysis/lint';
import { ensureIstioctl } from '@meshpass/lab/install/tools';
import { CASES, type Case, EXPOSURE_CASES, lintCase } from '../../packages/analysis/test/lint/corpus.ts';

/** Groups of rules, as in docs/lint.md. Rules about our own suppressions have no counterpart. */
const GROUPS = [
  ['Unknown fields', /^MP005/, 'suppressions-and-fields'],
  ['VirtualService and routes', /^MP1/, 'virtualservice'],
  ['Gateway', /^MP2/, 'gateway'],
  ['AuthorizationPolicy', /^MP3/, 'authorizationpolicy'],
  ['RequestAuthentication, PeerAuthentication', /^MP4/, 'requestauthentication-and-peerauthentication'],
  ['Policy bypass', /^MP5/, 'policy-bypass'],
  ['Kubernetes roles', /^MP6/, 'kubernetes-roles'],
  ['Entry points', /^MP7/, 'entry-points'],
] as const;

/** Validations that Kiali documents, with their section, by the rule whose mistake they describe. */
export const KIALI: Readonly<Record<string, readonly (readonly [code: string, section: string])[]>> = {
  MP309: [['KIA0004', 'generic']],
  MP311: [
    ['KIA0101', 'authorizationpolicies'],
    ['KIA0106', 'authorizationpolicies'],
  ],
  MP312: [['KIA0102', 'authorizationpolicies']],
  MP401: [['KIA1301', 'workloads']],
  MP504: [
    ['KIA0207', 'destinationrules'],
    ['KIA0208', 'destinationrules'],
  ],
};

export interface RuleRow {
  readonly code: string;
  /** Manifests of the corpus that have this mistake. */
  readonly bad: number;
  readonly meshpass: number;
  /** Manifests for which `analyze` reports a finding that it does not report for the good ones of the rule. */
  readonly analyze: number;
  /** Manifests for which it only reports findings that it also reports for the good ones. */
  readonly unspecific: number;
  /** Codes of the specific findings. */
  readonly says: readonly string[];
}

/** Compares the linters on every manifest of the rules, one by one. */
export async function compareLinters(progress: (line: string) => void): Promise<readonly RuleRow[]> {
  const istioctl = await ensureIstioctl(progress);
  const home = mkdtempSync(join(tmpdir(), 'linters-'));
  try {
    const said = new Map<Case, readonly string[]>();
    const cases = [...CASES, ...EXPOSURE_CASES];
    const left = [...cases];
    progress(`${cases.length} manifests, one by one`);
    const work = async () => {
      for (let one = left.pop(); one; one = left.pop()) said.set(one, await analyze(istioctl, home, one));
    };
    await Promise.all([work(), work()]);
    return ALL_RULES.map(({ code }) => row(code, cases, said));
  } finally {
    rmSync(home, { recursive: true });
  }
}

function row(code: string, cases: readonly Case[], said: ReadonlyMap<Case, readonly string[]>): RuleRow {
  const own = cases.filter((one) => one.code === code);
  // Said of the good ones as well, it is not about the mistake.
  const noise = new Set(own.filter(({ good }) => good).flatMap((one) => said.get(one)!));
  const bad = own.filter(({ good }) => !good);
  const about = bad.map((one) => said.get(one)!.filter((found) => !noise.has(found)));
  return {
    code,
    bad: bad.length,
    meshpass: bad.filter((one) => lintCase(one).findings.some((finding) => finding.code === code)).length,
    analyze: about.filter((found) => found.length > 0).length,
    unspecific: bad.filter((one, at) => about[at]!.length === 0 && said.get(one)!.length > 0).length,
    says: [...new Set(about.flat())].sort(),
  };
}

/**
 * Lists the codes of the findings of `istioctl analyze` for a manifest; `parse` if it refuses to read it. Without -A it
 * analyzes the namespace `default` only.
 */
export async function analyze(istioctl: string, home: string, { name, text }: Case): Promise<readonly string[]> {
  const file = join(home, name.replaceAll('/', '-'));
  writeFileSync(file, text);
  const argv = ['analyze', '-A', '--use-kube=false', '-o', 'json', file];
  const { stdout } = await promisify(execFile)(istioctl, argv).catch((failed: { stdout?: string }) => ({
    stdout: failed.stdout ?? '',
  }));
  const from = stdout.indexOf('[');
  if (from < 0) return ['parse'];
  const messages = JSON.parse(stdout.slice(from, stdout.lastIndexOf(']') + 1)) as readonly { readonly code: string }[];
  return [...new Set(messages.map(({ code }) => code))];
}

/** Formats the page. */
export function lintersPage(rows: readonly RuleRow[]): string {
  const lines = GROUPS.map(([name, codes, anchor]) => {
    const own = rows.filter(({ code }) => codes.test(code));
    const sum = (of: 'bad' | 'meshpass' | 'analyze' | 'unspecific') => own.reduce((all, one) => all + one[of], 0);
    const found = own.filter(({ says }) => says.length > 0).map(({ code, says }) => `${says.join(', ')} (${code})`);
    const kiali = own.flatMap(({ code }) =>
      KIALI[code] ? [`${KIALI[code].map(kialiLink).join(', ')} (${code})`] : [],
    );
    return cells([
      `[${name}](../lint.md#${anchor})`,
      String(own.length),
      `${sum('meshpass')} of ${sum('bad')}`,
      `${sum('analyze')} of ${sum('bad')}`,
      String(sum('unspecific')),
      found.join('; '),
      kiali.join('; '),
    ]);
  });
  return [
    '<!-- Written by `npm run linters`. -->',
    '',
    '# The linter beside `istioctl analyze` and Kiali',
    '',
    'Bad manifests of the corpus (`packages/analysis/test/lint`) in which each tool finds the mistake: this linter and `istioctl analyze --use-kube=false` by running them on each file, Kiali by its',
    '[documentation](https://kiali.io/docs/features/validations/). A finding of `analyze` is unspecific if it is also reported for good manifests of the rule.',
    '',
    'The corpus has the mistakes that this linter is for: exposure and bypassed policy. The other two find others, such as references to objects that do not exist, conflicting hosts and wrong subsets, which this linter leaves to them.',
    '',
    cells(['Rules', 'Number', 'Meshpass', '`istioctl analyze`', 'unspecific', 'its codes', 'Kiali, documented']),
    cells(['---', '---', '---', '---', '---', '---', '---']),
    ...lines,
    '',
  ].join('\n');
}

function cells(texts: readonly string[]): string {
  return `| ${texts.join(' | ')} |`;
}

function kialiLink([code, section]: readonly [string, string]): string {
  return `[${code}](https://kiali.io/docs/features/validations/#${section})`;
}

if (import.meta.main) {
  const rows = await compareLinters((line) => process.stderr.write(`… ${line}\n`));
  writeFileSync(new URL('../../docs/testing/linters.md', import.meta.url), lintersPage(rows));
}
