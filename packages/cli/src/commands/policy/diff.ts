import {
  type Comparison,
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
import { argument, choice, list, type OptionsOf, toggle } from '../../command/flag.ts';
import type { Answer } from '../../command/outcome.ts';
import { EXIT, type ExitCode } from '../../command/outcome.ts';
import { namespace } from '../../command/shared-flags.ts';
import { readManifests } from '../../input/policy-input.ts';
import { assumptionJson, formatAssumptions } from '../../output/decision-text.ts';
import { type DiffNotes, diffMarkdown } from '../../output/diff-markdown.ts';

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
 * Compares the calls that two sets of manifests allow.
 * @throws MeshpassError `usage`, `manifest_*`, `policy_too_large`
 */
async function diffPolicy({ before, after, ...options }: OptionsOf<typeof args & typeof flags>): Promise<Answer> {
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
  // If the manifests do not include the mesh configuration, any external authorizer could be configured.
  const settings = { ...config, ...(config.isRead && { authorizers }) };
  const comparison = compareMeaning(was, is, settings, { ...(unread !== undefined && { unread }) });
  const { changes, more, endpoints, unknown, assumed } = comparison;
  const outside = compareOutside(was, is, {
    rootNamespace: settings.rootNamespace,
    ...(unread !== undefined && { unread }),
  });
  const unplaced = describeUnplaced([...was, ...is]);
  const listed = changes.map(({ kind, who, what, circumstances, where, before: was, after: is }) => {
    return { kind, who, what, circumstances, where: formatWhere(where), before: was.reason, after: is.reason };
  });
  const json = {
    changes: listed,
    more,
    endpoints,
    unknown: unknown.map(({ reason, where }) => ({ reason, where: formatWhere(where) })),
    ...assumptionJson(assumed, unplaced),
    outside: outsideJson(outside),
  };
  const text = () =>
    options.output === 'markdown'
      ? diffMarkdown(comparison, outside, { unplaced, unread })
      : diffText(comparison, outside, { unplaced, unread });
  return { json, text, exit: exitCodeOf(comparison, outside, unread !== undefined, options.exitCode) };
}

function exitCodeOf(
  { changes, unknown }: Comparison,
  outside: OutsideComparison,
  isUnread: boolean,
  failsIfDifferent: boolean,
): ExitCode {
  const differs = changes.length > 0 || outside.changes.length > 0;
  if (!isUnread && failsIfDifferent && differs) return EXIT.failed;
  return isUnread || unknown.length > 0 || outside.unknown.length > 0 ? EXIT.unknown : EXIT.ok;
}

function diffText(
  { changes, more, endpoints, unknown, assumed }: Comparison,
  outside: OutsideComparison,
  { unplaced, unread }: DiffNotes,
): readonly string[] {
  const same =
    unknown.length === 0
      ? `The same calls are allowed: ${endpoints} ports were compared.`
      : `On the ${endpoints} compared ports, the same calls are allowed.`;
  return [
    // If no port is listed as unknown, the files that were skipped have to be reported here.
    ...(unread !== undefined && unknown.length === 0 ? [`unknown: ${unread}`, ''] : []),
    ...(outside.destinations > 0 ? ['What policies at workloads allow:', ''] : []),
    ...unknown.flatMap(({ reason, where }) => [`unknown on ${formatWhere(where)}`, `  ${reason}`, '']),
    ...(changes.length > 0 ? changes.map(formatChange).join('\n\n').split('\n') : [same]),
    ...(more ? ['', 'There are more differences. These are the largest at each endpoint.'] : []),
    ...formatAssumptions(assumed, unplaced),
    ...(outside.destinations > 0 ? outsideLines(outside) : []),
  ];
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

function outsideLines({ changes, more, destinations, unknown, moved, assumed }: OutsideComparison): readonly string[] {
  const same =
    unknown.length > 0
      ? 'For every other destination, they reach the same.'
      : `Equivalent: ${destinations} destination${destinations === 1 ? ' was' : 's were'} compared.`;
  return [
    ...['', 'What anonymous callers from outside reach:', ''],
    ...unknown.flatMap(({ destination, reasons }) => [
      `unknown for ${destination}`,
      ...reasons.map((reason) => `  ${reason}`),
      '',
    ]),
    ...(changes.length > 0 ? changes.map(formatOutsideChange).join('\n\n').split('\n') : [same]),
    ...(more ? ['', 'There are more differences.'] : []),
    ...moved.map((one) => `Other Pods or ports answer at ${one.destination}: ${one.changes.join('; ')}.`),
    ...assumed.map((reason) => `Assumed to let every call through: ${reason}.`),
  ];
}
