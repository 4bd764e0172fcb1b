import { kubeconfigAccess } from '@meshpass/broker/kubernetes/access';
import { kubernetesHttp } from '@meshpass/broker/kubernetes/http';
import { kubeconfigOf } from '../check/kubeconfig-of.ts';
import { runChecks, runOutside } from '../check/run.ts';
import { defineCommand } from '../command/define.ts';
import type { ExitCode, Output } from '../command/failure.ts';
import { address, text, toggle, turnOff } from '../command/flag.ts';
import { gatewayFlags, kubeconfig, output, proofFlags } from '../command/shared-flags.ts';
import { exitCodeFor, type Finding, findingText } from '../doctor/line.ts';
import { appFlags, checkAppBy } from '../github-app/flags.ts';
import { readTextFile } from '../input/text-file.ts';

export const command = defineCommand({
  about:
    'For operators, after an installation and when something is wrong; in a Codespace it is meshpass doctor. It changes nothing. Each finding names what is wrong, how it was seen, and a command that mends it or shows more.',
  flags: {
    kubeconfig: { ...kubeconfig, defaultText: 'KUBECONFIG, or ~/.kube/config' },
    namespace: text('<name>', 'namespace of the release', { env: 'MESHPASS_NAMESPACE', default: 'meshpass-system' }),
    rootNamespace: text('<name>', "Istio's root namespace", {
      env: 'MESHPASS_ROOT_NAMESPACE',
      default: 'istio-system',
    }),
    istiodService: text('<service>', 'Service of istiod; that of a revision is istiod-REVISION', { default: 'istiod' }),
    ...gatewayFlags,
    gitops: toggle('the broker was started with --gitops', { env: 'MESHPASS_GITOPS' }),
    operator: text('<url>', "origin of the broker's operator listener, to ask about database and readiness", {
      env: 'MESHPASS_OPERATOR',
    }),
    brokerAddress: address('<host:port>', 'public address of the broker: whether its certificate is good there'),
    edgeAddress: address('<host:port>', 'public address of the edge: whether its certificate is good there'),
    caFile: proofFlags.caFile,
    cluster: turnOff('ask nothing of Kubernetes: only the addresses, the operator listener and GitHub'),
    ...appFlags,
    output,
  },
  exitCodes: {
    0: 'nothing is wrong; warnings may be there',
    1: 'something is wrong',
    3: 'something does not answer; try again',
  },
  examples: [
    'meshpass check',
    'meshpass check --no-cluster --edge-address edge.example.com:443',
    'meshpass check --operator http://127.0.0.1:9090 --broker-address broker.example.com:443 --edge-address edge.example.com:443 --output json',
  ],
  page: 'docs/operating-broker.md',
  run: async ({
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
    output,
    ...options
  }) => {
    const ca = caFile === undefined ? undefined : readTextFile(caFile, '--ca-file', 'config_invalid');
    const outside = { operator, broker: brokerAddress, edge: edgeAddress, ca, github: checkAppBy(options) };
    if (!cluster) return print(await runOutside({ ...outside, namespace, now: Date.now }), output);
    const http = kubernetesHttp(await kubeconfigAccess(kubeconfig ?? kubeconfigOf(process.env)));
    const gateway = { namespace: options.gatewayNamespace, labels: options.gatewayLabel, port: options.gatewayPort };
    try {
      const findings = await runChecks({
        cluster: { http, namespace, rootNamespace, istiod, gateway, gitops, now: Date.now },
        ...outside,
      });
      return print(findings, output);
    } finally {
      http.close();
    }
  },
});

function print(findings: readonly Finding[], output: Output): ExitCode {
  console.log(output === 'json' ? JSON.stringify({ findings }, null, 2) : findings.map(findingText).join('\n'));
  return exitCodeFor(findings);
}
