import {
  compareMeaning,
  compareOutside,
  formatChange,
  formatOutsideChange,
  formatWhere,
  type OutsideComparison,
  type OutsideDecision,
} from '@meshpass/analysis/diff';
import { describeUnplaced, findMeshConfig } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argument, choice, list, type OptionsOf, toggle } from '../../command/flag.ts';
import { namespace } from '../../command/shared-flags.ts';
import { readManifests } from '../../input/policy-input.ts';
import { assumptionJson, assumptionLines } from '../../output/decision-text.ts';
import { diffMarkdown } from '../../output/diff-markdown.ts';
import { printJson, printLines, printText } from '../../output/print.ts';

const args = { before: argument('file or directory of manifests'), after: argument('file or directory of manifests') };
const flags = {
  context: list('<path>', 'manifests of Services and workloads that both sides share'),
  namespace,
  exitCode: toggle('exit with 1 if the meaning differs'),
  output: choice(['text', 'json', 'markdown'], 'output format', { value: '<format>', default: 'text' }),
};

export const command = defineCommand({
  about: 'The comparison is exact, and shows an example of each difference.',
  args,
  flags,
  exitCodes: {
    0: 'compared; with --exit-code: no difference',
    1: 'failed; with --exit-code: there are differences',
    4: 'unknown for some calls: a deciding policy cannot be evaluated',
  },
  examples: [
    'meshpass policy diff before/ after/ --exit-code',
    'meshpass policy diff --context services.yaml before.yaml after.yaml',
  ],
  page: 'docs/policy.md',
  run: diffPolicy,
});

/**
 * Compares two sets of manifests.
 * @throws MeshpassError `usage`, `manifest_*`, `policy_too_large`
 */
async function diffPolicy({ before, after, ...options }: OptionsOf<typeof args & typeof flags>): Promise<ExitCode> {
  const read = (paths: readonly string[]) => readManifests(paths, options.namespace);
  const context = await read(options.context);
  const [old, next] = [await read([before]), await read([after])];
  const unreads = new Set([context, old, next].flatMap((side) => side.unread ?? []));
  const unread = unreads.size === 0 ? undefined : [...unreads].join('; ');
  const [was, is] = [
    [...context.resources, ...old.resources],
    [...context.resources, ...next.resources],
  ];
  const { authorizers, ...config } = findMeshConfig(is);
  // Without the mesh's configuration among the manifests, any authorizer may exist.
  const settings = { ...config, ...(config.isRead && { authorizers }) };
  const comparison = compareMeaning(was, is, settings, { ...(unread !== undefined && { unread }) });
  const { changes, more, endpoints, unknown, assumed } = comparison;
  const outside = compareOutside(was, is, {
    rootNamespace: settings.rootNamespace,
    ...(unread !== undefined && { unread }),
  });
  const unplaced = describeUnplaced([...was, ...is]);
  if (options.output === 'markdown') printText(diffMarkdown(comparison, outside, { unplaced, unread }));
  else if (options.output === 'json') {
    const listed = changes.map(({ kind, who, what, circumstances, where, before, after }) => ({
      kind,
      who,
      what,
      circumstances,
      where: formatWhere(where),
      before: before.reason,
      after: after.reason,
    }));
    const unknownPorts = unknown.map(({ reason, where }) => ({ reason, where: formatWhere(where) }));
    printJson({
      changes: listed,
      more,
      endpoints,
      unknown: unknownPorts,
      ...assumptionJson(assumed, unplaced),
      outside: outsideJson(outside),
    });
  } else {
    // Without a port, none is listed as unknown.
    if (unread !== undefined && unknown.length === 0) printLines(`unknown: ${unread}`, '');
    if (outside.destinations > 0) printLines('What policies at workloads allow:', '');
    for (const { reason, where } of unknown) printLines(`unknown on ${formatWhere(where)}`, `  ${reason}`, '');
    if (changes.length > 0) printText(changes.map(formatChange).join('\n\n'));
    else if (unknown.length === 0) printLines(`The same calls are allowed: ${endpoints} ports were compared.`);
    else printLines(`On the ${endpoints} compared ports, the same calls are allowed.`);
    if (more) printLines('', 'There are more differences. These are the largest at each endpoint.');
    printLines(...assumptionLines(assumed, unplaced));
    if (outside.destinations > 0) printOutside(outside);
  }
  const differs = changes.length > 0 || outside.changes.length > 0;
  if (unread === undefined && options.exitCode && differs) return EXIT.failed;
  return unknown.length > 0 || outside.unknown.length > 0 || unread !== undefined ? EXIT.unknown : EXIT.ok;
}

function outsideJson({ changes, ...rest }: OutsideComparison) {
  const decision = ({ reached, reason, place }: OutsideDecision) => ({
    reached,
    reason,
    ...(place && { file: place.file, line: place.line }),
  });
  const listed = changes.map(({ before, after, ...change }) => ({
    ...change,
    before: decision(before),
    after: decision(after),
  }));
  return { equivalent: changes.length === 0 && rest.unknown.length === 0, changes: listed, ...rest };
}

function printOutside({ changes, more, destinations, unknown, moved, assumed }: OutsideComparison): void {
  printLines('', 'What anonymous callers from outside reach:', '');
  for (const { destination, reasons } of unknown) {
    printLines(`unknown for ${destination}`, ...reasons.map((reason) => `  ${reason}`), '');
  }
  if (changes.length > 0) printText(changes.map(formatOutsideChange).join('\n\n'));
  else if (unknown.length > 0) printLines('For every other destination, they reach the same.');
  else printLines(`Equivalent: ${destinations} destination${destinations === 1 ? ' was' : 's were'} compared.`);
  if (more) printLines('', 'There are more differences.');
  printLines(
    ...moved.map(({ destination, changes }) => `Other Pods or ports answer at ${destination}: ${changes.join('; ')}.`),
  );
  printLines(...assumed.map((reason) => `Assumed to let every call through: ${reason}.`));
}
