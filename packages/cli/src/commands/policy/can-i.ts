/** `meshpass policy can-i`: may this identity make this call, by which rule, in which file and line. */

import { assumedNamespaces, canI, parseCaller } from '@meshpass/analysis/evaluate';
import { EXIT, type Output } from '../../command/failure.ts';
import { type MeshInput, readMesh } from '../../input/mesh-input.ts';
import { claimsOf, type RequestFlags, requestOf } from '../../input/request.ts';
import { assumptionJson, assumptionLines, decisionJson, judgedText } from '../../output/decision-text.ts';

export interface CanIFlags extends MeshInput, RequestFlags {
  readonly as: string;
  readonly to: string;
  readonly claims?: string;
  readonly output: Output;
}

/** Exits with 0 for yes, 1 for no and for "it depends", 4 where it is unknown. @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable` */
export async function canICommand(paths: readonly string[], flags: CanIFlags): Promise<void> {
  const { http, more } = requestOf(flags);
  const claims = claimsOf(flags.claims);
  const view = await readMesh(paths, flags);
  const caller = { ...parseCaller(flags.as, view.config.trustDomain), ...(claims && { claims }) };
  const { allowed, answers } = canI(view, caller, flags.to, http, more);
  const assumed = assumedNamespaces(
    view,
    answers.map(({ endpoint }) => endpoint),
  );
  if (flags.output === 'json') {
    const listed = answers.map(({ endpoint: { authorizer, port }, verdict, unknown, decision, chosenByClient }) => ({
      workload: `${authorizer.workload.namespace}/${authorizer.workload.name}`,
      ...{ port, allowed: verdict, ...(unknown !== undefined && { unknown }) },
      ...{ chosen_by_client: chosenByClient, decision: decisionJson(decision) },
    }));
    console.log(JSON.stringify({ allowed, answers: listed, ...assumptionJson(assumed, view.unplaced) }, null, 2));
  } else {
    console.log(allowed === 'some' ? 'it depends' : allowed);
    for (const answer of answers) {
      const { endpoint, chosenByClient } = answer;
      const { namespace, name } = endpoint.authorizer.workload;
      const choice = chosenByClient ? ' (the client chooses: the port declares no protocol)' : '';
      console.log(`  ${namespace}/${name}:${endpoint.port} ${judgedText(answer)}${choice}`);
    }
    for (const line of assumptionLines(assumed, view.unplaced)) console.log(line);
  }
  process.exitCode = { yes: EXIT.ok, no: EXIT.failed, some: EXIT.failed, unknown: EXIT.unknown }[allowed];
}
