import { assumedNamespaces, canI, parseCaller } from '@meshpass/analysis/evaluate';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argumentsOf, type OptionsOf, text } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';
import { meshInputFlags, readMesh } from '../../input/mesh-input.ts';
import { claimsOf, requestFlags, requestOf } from '../../input/request.ts';
import { assumptionJson, assumptionLines, decisionJson, judgedLines } from '../../output/decision-text.ts';
import { printJson, printLines } from '../../output/print.ts';

const args = {
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = {
  as: text('<identity>', 'NAMESPACE/SERVICEACCOUNT, a SPIFFE principal, or "nobody" (no client certificate)', {
    required: true,
  }),
  to: text('<target>', 'SERVICE.NAMESPACE:PORT, or NAMESPACE/WORKLOAD:PORT', { required: true }),
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
  examples: ['meshpass policy can-i --as dev/web --to orders.shop:8080 --path /orders/1 mesh/'],
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
  return { yes: EXIT.ok, no: EXIT.failed, some: EXIT.failed, unknown: EXIT.unknown }[allowed];
}
