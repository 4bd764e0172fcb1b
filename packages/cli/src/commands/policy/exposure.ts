import { meshOf, resolveAccess } from '@meshpass/access/compile';
import {
  type ExposureReport,
  listExposures,
  printExposureHtml,
  printExposureJson,
  printExposureMarkdown,
  printExposureSarif,
  printExposureTable,
  reportOf,
  type UnusedAccess,
  usageOf,
} from '@meshpass/analysis/exposure';
import { describeUnplaced, findMeshConfig, type Resource } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { choice, list, type OptionsOf, text, toggle, variadicArgument } from '../../command/flag.ts';
import { EXIT, type ExitCode, hasColour } from '../../command/outcome.ts';
import { namespace } from '../../command/shared-flags.ts';
import { readBoundedLines } from '../../input/files.ts';
import { requireInput } from '../../input/manifest-files.ts';
import { kubeconfig, readAccessFile, readSources } from '../../input/policy-input.ts';

const args = { paths: variadicArgument('manifest files and directories; - for standard input') };
const flags = {
  kubeconfig,
  namespace,
  all: toggle('also list closed ways'),
  base: list('<path>', 'manifests before the change; lists only ways that the change opens'),
  logs: list('<file>', "access log of gateways and sidecars in Istio's JSON format, to list unused access"),
  access: text('<file>', 'access file, whose grants without a use are listed too with --logs', {
    env: 'MESHPASS_ACCESS',
  }),
  failOn: choice(['open', 'unknown', 'never'], 'least certain verdict of external access that fails', {
    value: '<verdict>',
    default: 'never',
  }),
  output: choice(['table', 'json', 'sarif', 'markdown', 'html'], 'output format', {
    value: '<format>',
    default: 'table',
  }),
};
type ExposureFlags = OptionsOf<typeof flags>;

export const command = defineCommand({
  about:
    'Prints external, internal and unused access, each way with a request that gets through, and the file and line.',
  args,
  flags,
  exitCodes: {
    0: 'done; with --fail-on: no external way that fails',
    1: 'with --fail-on: a caller without an identity gets in from outside',
    3: 'the cluster does not respond; try again',
    4: 'with --fail-on unknown: it is unknown for a way; with --fail-on: skipped input may decide',
  },
  env: { NO_COLOR: 'set to any value to disable colours' },
  examples: [
    'meshpass policy exposure mesh/',
    'helm template shop | meshpass policy exposure - --fail-on open',
    'meshpass policy exposure mesh/ --output html > exposure.html',
    'meshpass policy exposure mesh/ --logs gateway.jsonl',
  ],
  page: 'docs/policy/exposure.md',
  run: ({ paths, ...options }) => showExposure(paths, options),
});

/**
 * Lists the routes through which external traffic can enter the cluster.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
async function showExposure(paths: readonly string[], flags: ExposureFlags): Promise<ExitCode> {
  requireInput(paths, flags.kubeconfig);
  const { resources, unread } = await readSources(paths, flags, { others: true });
  const before = flags.base.length === 0 ? undefined : await readSources(flags.base, flags, { others: true });
  const ways = listExposures(resources, {
    complete: flags.kubeconfig !== undefined && unread === undefined,
    ...(before && { base: before.resources }),
  });
  const unplaced = describeUnplaced(resources);
  const unused = flags.logs.length === 0 ? undefined : await readUsage(ways, resources, flags);
  const report = reportOf(ways, {
    isAll: flags.all,
    objects: resources.length,
    notes: [before && ONLY_NEW, unread, before?.unread, unplaced].filter((one) => one !== undefined),
    ...(unused && { unused }),
  });
  process.stdout.write(PRINTERS[flags.output](report));
  return exitCode(report, (unread ?? before?.unread) !== undefined, flags.failOn);
}

const ONLY_NEW = 'only ways that the change opens are listed (--base)';

async function readUsage(
  ways: Parameters<typeof usageOf>[0],
  resources: readonly Resource[],
  { logs, access }: ExposureFlags,
): Promise<UnusedAccess> {
  const usage = usageOf(ways, {
    resources,
    ...(access !== undefined && { grants: readGrants(access, resources) }),
  });
  for (const file of logs) await readBoundedLines(file, '--logs', usage.read);
  return usage.result();
}

function readGrants(file: string, resources: readonly Resource[]) {
  const gateway = { namespace: 'meshpass-system', labels: {}, port: 15443 };
  return resolveAccess(readAccessFile(file), meshOf(resources, { ...findMeshConfig(resources), gateway })).grants;
}

const PRINTERS: Readonly<Record<ExposureFlags['output'], (report: ExposureReport) => string>> = {
  json: printExposureJson,
  sarif: printExposureSarif,
  markdown: printExposureMarkdown,
  html: printExposureHtml,
  table: (report) => printExposureTable(report, { colour: hasColour() }),
};

function exitCode({ external }: ExposureReport, isUnread: boolean, failOn: ExposureFlags['failOn']): ExitCode {
  if (failOn === 'never') return EXIT.ok;
  if (external.counts.open > 0) return EXIT.failed;
  return isUnread || (failOn === 'unknown' && external.counts.unknown > 0) ? EXIT.unknown : EXIT.ok;
}
