import { readCa } from '@meshpass/agent/control/read-ca';
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { kubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { MeshpassError } from '@meshpass/identity/error';
import { runBefore } from '../check/before/run.ts';
import { kubeconfigOf } from '../check/kubeconfig-of.ts';
import { runChecks, runOutside } from '../check/run.ts';
import { defineCommand } from '../command/define.ts';
import { address, text, toggle, turnOff } from '../command/flag.ts';
import { gatewayFlags, kubeconfig, output, proofFlags } from '../command/shared-flags.ts';
import { findingsAnswer } from '../diagnosis/print.ts';
import { appFlags, checkAppBy } from '../github-app/flags.ts';
import { readChartValues } from '../input/chart-values.ts';

export const command = defineCommand({
  about:
    'For operators: run it before an installation or upgrade (--before), after it, and when something is wrong. In a Codespace, use meshpass doctor. The command changes nothing. Each finding reports the problem, how it was found, and a command that fixes it or shows more.',
  flags: {
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
    cluster: turnOff('do not query Kubernetes: check only the addresses, the operator listener and GitHub'),
    ...appFlags,
    output,
  },
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
  run: async ({
    before,
    access,
    values,
    kubeconfig,
    namespace,
    rootNamespace,
    istiodService: istiod,
    gitops,
    operator,
    brokerAddress,
    edgeAddress,
    caFile,
    cluster,
    ...options
  }) => {
    if (before && !cluster) throw new MeshpassError('usage', '--before cannot be combined with --no-cluster.');
    if (!before && (access ?? values) !== undefined)
      throw new MeshpassError('usage', '--access and --values require --before.');
    const chart = values === undefined ? undefined : readChartValues(values);
    const outside = {
      operator,
      broker: brokerAddress,
      edge: edgeAddress,
      ca: readCa(caFile),
      github: checkAppBy(options),
    };
    if (!cluster) return findingsAnswer(await runOutside({ ...outside, namespace, now: Date.now }));
    const http = kubernetesHttp(await kubeconfigAccess(kubeconfig ?? kubeconfigOf(process.env)));
    const gateway = { namespace: options.gatewayNamespace, labels: options.gatewayLabel, port: options.gatewayPort };
    try {
      const context = { http, namespace, rootNamespace, istiod, gateway, gitops, now: Date.now };
      const findings = before
        ? await runBefore({ cluster: context, access, values: chart, github: outside.github })
        : await runChecks({ cluster: context, ...outside });
      return findingsAnswer(findings);
    } finally {
      http.close();
    }
  },
});
