/** `meshpass policy who-can`: who reaches an endpoint with a call. */
import { whoCan } from '@meshpass/policy/evaluate/who-can';
import { decisionJson, decisionText } from '../../decision-text.ts';
import type { Output } from '../../failure.ts';
import { type MeshInput, readMesh } from '../../mesh-input.ts';
import { type RequestFlags, requestOf } from '../../request-flags.ts';

export interface WhoCanFlags extends MeshInput, RequestFlags {
  readonly output: Output;
}

/** @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable` */
export async function whoCanCommand(target: string, paths: readonly string[], flags: WhoCanFlags): Promise<void> {
  const { http, more } = requestOf(flags);
  const found = whoCan(await readMesh(paths, flags), target, http, more);
  if (flags.output === 'json') {
    const listed = found.map(({ endpoint: { guard, port }, who, token, decision }) => ({
      ...{
        who,
        ...(token !== undefined && { token }),
        workload: `${guard.workload.namespace}/${guard.workload.name}`,
        port,
      },
      decision: decisionJson(decision),
    }));
    console.log(JSON.stringify({ target, who: listed }, null, 2));
  } else if (found.length === 0) console.log('Nobody.');
  else {
    for (const { who, token, decision } of found) {
      console.log(`${who}${token === undefined ? '' : ` with ${token}`}\n    ${decisionText(decision)}`);
    }
  }
}
