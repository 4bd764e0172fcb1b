import { assumedNamespaces, canI, canIOutside, type OutsideRequest, parseCaller } from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity/error';
import type { MeshView } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argumentsOf, type OptionsOf, text } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';
import { meshInputFlags, readMesh } from '../../input/mesh-input.ts';
import { outsideRequestOf } from '../../input/outside-request.ts';
import { claimsOf, requestFlags, requestOf } from '../../input/request.ts';
import { assumptionJson, assumptionLines, decisionJson, judgedLines } from '../../output/decision-text.ts';
import { outsideJson, outsideLines } from '../../output/outside-text.ts';
import { printJson, printLines } from '../../output/print.ts';

const args = {
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = {
  as: text(
    '<identity>',
    'NAMESPACE/SERVICEACCOUNT, a SPIFFE principal, "nobody" (no client certificate), or "outside" (a client of a gateway)',
    { required: true },
  ),
  to: text('<target>', 'SERVICE.NAMESPACE:PORT, NAMESPACE/WORKLOAD:PORT, or the URL that a client outside uses', {
    required: true,
  }),
  certificate: text('<principal>', 'SPIFFE principal of the client certificate of a caller outside'),
  claims: text('<json>', 'payload of the token in the request, or @FILE to read it from a file'),
  ...requestFlags,
  ...meshInputFlags,
  output,
};

export const command = defineCommand({
  about: 'Prints the deciding rule, with file and line.',
  args,
  flags,
  exitCodes: {
    0: 'yes',
    1: 'no, or it depends on missing input',
    4: 'unknown: a deciding policy cannot be evaluated',
  },
  examples: [
    'meshpass policy can-i --as dev/web --to orders.shop:8080 --path /orders/1 mesh/',
    'meshpass policy can-i --as outside --to https://shop.example.com/orders/1 public/',
  ],
  page: 'docs/evaluator.md',
  run: decide,
});

/**
 * Decides the call.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
async function decide({ paths, ...options }: OptionsOf<typeof args & typeof flags>): Promise<ExitCode> {
  const { http, more } = requestOf(options);
  const claims = claimsOf(options.claims);
  const view = await readMesh(paths, options);
  if (options.as === 'outside') {
    const { to: url, certificate } = options;
    return printOutside(view, outsideRequestOf(options, { url, claims, certificate }), options.output);
  }
  if (options.certificate !== undefined) throw new MeshpassError('usage', '--certificate requires --as outside.');
  const caller = { ...parseCaller(options.as, view.config.trustDomain), ...(claims && { claims }) };
  const { allowed, answers } = canI(view, caller, options.to, http, more);
  const assumed = assumedNamespaces(
    view,
    answers.map(({ endpoint }) => endpoint),
  );
  if (options.output === 'json') {
    const listed = answers.map(({ endpoint: { authorizer, port }, verdict, unknown, decision, chosenByClient }) => ({
      workload: `${authorizer.workload.namespace}/${authorizer.workload.name}`,
      port,
      allowed: verdict,
      ...(unknown !== undefined && { unknown }),
      chosen_by_client: chosenByClient,
      ...(unknown === undefined && { decision: decisionJson(decision) }),
    }));
    printJson({ allowed, answers: listed, ...assumptionJson(assumed, view.unplaced) });
  } else {
    printLines(allowed === 'some' ? 'it depends' : allowed);
    for (const answer of answers) {
      const { endpoint, chosenByClient } = answer;
      const { namespace, name } = endpoint.authorizer.workload;
      const choice = chosenByClient ? ' (the client chooses: the port declares no protocol)' : '';
      const [judged, ...notes] = judgedLines(answer);
      printLines(`  ${namespace}/${name}:${endpoint.port} ${judged}${choice}`, ...notes);
    }
    printLines(...assumptionLines(assumed, view.unplaced));
  }
  return EXITS[allowed];
}

const EXITS = { yes: EXIT.ok, no: EXIT.failed, some: EXIT.failed, unknown: EXIT.unknown } as const;

function printOutside(view: MeshView, request: OutsideRequest, output: string): ExitCode {
  const { allowed, answers } = canIOutside(view, request);
  const namespaces = answers.flatMap(({ assumesSidecar, workload }) =>
    assumesSidecar ? workload!.split('/')[0]! : [],
  );
  if (output === 'json') {
    printJson({ allowed, answers: answers.map(outsideJson), ...assumptionJson(namespaces, view.unplaced) });
  } else {
    printLines(allowed === 'some' ? 'it depends' : allowed, ...answers.flatMap(outsideLines));
    printLines(...assumptionLines(namespaces, view.unplaced));
  }
  return EXITS[allowed];
}
