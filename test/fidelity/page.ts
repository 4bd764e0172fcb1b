/** The page docs/testing/fidelity.md, from the results of a run. */
import { DIFFERENCES, UNTESTED } from './differences.ts';
import type { CaseResult } from './run-case.ts';

/** @param results of both sides */
export function fidelityPage(results: readonly CaseResult[]): string {
  const rows = results.map(({ case: { feature, rule }, seen: { pod, codespace } }) => {
    const note = feature in DIFFERENCES ? ` ([why](#${anchorOf(feature)}))` : '';
    const same = codespace!.with === pod!.with ? 'the same' : `${codespace!.with}${note}`;
    return `| ${feature} | ${rule} | ${pod!.with} | ${same} | ${pod!.without} | ${codespace!.without} |`;
  });
  const differences = Object.entries(DIFFERENCES).map(([feature, reason]) => `### ${feature}\n\n${reason}\n`);
  const untested = UNTESTED.map(({ feature, reason }) => `- **${feature}.** ${reason}`);
  return `${[
    '# Fidelity: a Codespace beside a pod',
    '',
    'Each row is a rule on a real mesh. The same program makes the same calls from a pod with a stock sidecar and from a Codespace, while the',
    'rule is in force and after it was taken away. `npm run fidelity` makes this page; do not edit it. CI runs most cases from a pod.',
    '',
    '| Feature | Rule | From a pod | From a Codespace | Without the rule: pod | Codespace |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    'Where no subset is named, either version may answer: v1 and v2 are pods of one Service.',
    '',
    '## What differs',
    '',
    ...differences,
    '## What is untested',
    '',
    ...untested,
  ].join('\n')}\n`;
}

/** Anchors like GitHub's. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-');
}
