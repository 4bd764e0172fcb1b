import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { readCa } from '@meshpass/agent/control/config';
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { createKubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { MeshpassError } from '@meshpass/identity';
import { runChecks, runPreflightChecks } from '../check/run.ts';
import { defineCommand } from '../command/define.ts';
import { address, negatedFlag, type OptionsOf, text, toggle } from '../command/flag.ts';
import type { Answer } from '../command/outcome.ts';
import { gatewayFlags, gatewayLocation, kubeconfig, output, proofFlags } from '../command/shared-flags.ts';
import { findingsOutput } from '../diagnosis/print.ts';
import { githubAppCheck, githubAppFlags } from '../github-app/check-app.ts';
import { readChartValues } from '../input/chart-values.ts';

const flags = {
  before: toggle('check what an installation or upgrade requires: the cluster, the mesh, and your permissions'),
  access: text('<file>', 'with --before: access file whose granted services to check'),
  values: text('<file>', 'with --before: chart values to check'),
  kubeconfig: { ...kubeconfig, defaultText: 'KUBECONFIG, or ~/.kube/config' },
  namespace: text('<name>', 'namespace of the release', { env: 'MESHPASS_NAMESPACE', default: 'meshpass-system' }),
  rootNamespace: text('<name>', "Istio's root namespace", {
    env: 'MESHPASS_ROOT_NAMESPACE',
    default: 'istio-system',
  }),
  istiodService: text('<service>', "istiod's Service; istiod-REVISION for a revision", { default: 'istiod' }),
  ...gatewayFlags,
  gitops: toggle('the broker was started with --gitops', { env: 'MESHPASS_GITOPS' }),
  operator: text('<url>', "origin of the broker's operator listener, to check the database and readiness", {
    env: 'MESHPASS_OPERATOR',
  }),
  brokerAddress: address('<host:port>', 'public address of the broker, to check its certificate there'),
  edgeAddress: address('<host:port>', 'public address of the edge, to check its certificate there'),
  caFile: proofFlags.caFile,
  cluster: negatedFlag('do not query Kubernetes: check only the addresses, the operator listener and GitHub'),
  ...githubAppFlags,
  output,
};

export const command = defineCommand({
  about:
    'For operators: run it before an installation or upgrade (--before), after it, and when something is wrong. In a Codespace, use meshpass doctor. The command changes nothing. Each finding reports the problem, how it was found, and a command that fixes it or shows more.',
  flags,
  exitCodes: {
    0: 'no failures; there may be warnings',
    1: 'something is wrong or missing',
    3: 'a component does not respond; try again',
    4: 'with --before: nothing is missing, but something could not be checked',
  },
  examples: [
    'meshpass check --before --access access.yaml --values values.yaml',
    'meshpass check',
    'meshpass check --no-cluster --edge-address edge.example.com:443',
    'meshpass check --operator http://127.0.0.1:9090 --broker-address broker.example.com:443 --edge-address edge.example.com:443 --output json',
  ],
  page: 'docs/operating-broker.md',
  run: check,
});

/**
 * Runs the installation checks or, with `--before`, the preflight checks.
 * @throws MeshpassError `usage`, `config_invalid`
 */
async function check(options: OptionsOf<typeof flags>): Promise<Answer> {
  const { before, access, operator, namespace, rootNamespace, gitops, istiodService: istiod } = options;
  if (before && !options.cluster) throw new MeshpassError('usage', '--before cannot be combined with --no-cluster.');
  if (!before && (access ?? options.values) !== undefined)
    throw new MeshpassError('usage', '--access and --values require --before.');
  const values = options.values === undefined ? undefined : readChartValues(options.values);
  const { brokerAddress: broker, edgeAddress: edge } = options;
  const github = githubAppCheck(options);
  const outside = { operator, broker, edge, ca: readCa(options.caFile), github };
  const installation = { namespace, rootNamespace, istiod, gateway: gatewayLocation(options), gitops, now: Date.now };
  if (!options.cluster) return findingsOutput(await runChecks({ cluster: installation, ...outside }));
  const http = createKubernetesHttp(await kubeconfigAccess(options.kubeconfig ?? findKubeconfig(process.env)));
  try {
    const cluster = { ...installation, http };
    return findingsOutput(
      before ? await runPreflightChecks({ cluster, access, values, github }) : await runChecks({ cluster, ...outside }),
    );
  } finally {
    http.close();
  }
}

/**
 * Finds the kubeconfig that kubectl would use, so that the checks examine the same cluster.
 * @returns the path in KUBECONFIG, or `~/.kube/config`
 * @throws MeshpassError `usage` if there is no kubeconfig, or if KUBECONFIG lists more than one file. kubectl would
 *   merge the files, but Meshpass does not support that
 */
export function findKubeconfig(
  { KUBECONFIG }: Readonly<Record<string, string | undefined>>,
  home: string = homedir(),
): string {
  const [file, ...more] = (KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '');
  if (more.length > 0)
    throw new MeshpassError(
      'usage',
      'KUBECONFIG lists several files, which meshpass does not merge. Pass one as --kubeconfig, for example the output of kubectl config view --flatten.',
    );
  const usual = join(home, '.kube', 'config');
  if (file !== undefined) return file;
  if (existsSync(usual)) return usual;
  throw new MeshpassError('usage', 'No kubeconfig found at ~/.kube/config. Set --kubeconfig or KUBECONFIG.');
}
