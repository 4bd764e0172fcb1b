/** `meshpass policy diff`: who gains and who loses which call between two sets of manifests. */
import { compareMeaning, formatChange, formatWhere } from '@meshpass/policy/diff/compare';
import { findMeshConfig } from '@meshpass/policy/istio/mesh-config';
import { EXIT, type Output } from '../../failure.ts';
import { readManifests } from '../../policy-input.ts';

export interface DiffFlags {
  readonly output: Output;
  readonly context: readonly string[];
  readonly exitCode?: boolean;
}

/** @throws MeshpassError `usage`, `manifest_*`, `policy_too_large` */
export async function diffPolicy(before: string, after: string, flags: DiffFlags): Promise<void> {
  const context = await readManifests(flags.context);
  const [was, is] = [
    [...context, ...(await readManifests([before]))],
    [...context, ...(await readManifests([after]))],
  ];
  const { changes, more, endpoints } = compareMeaning(was, is, findMeshConfig(is));
  if (flags.output === 'json') {
    const listed = changes.map(({ kind, who, what, circumstances, where, before, after }) => ({
      ...{ kind, who, what, circumstances, where: formatWhere(where), before: before.reason, after: after.reason },
    }));
    console.log(JSON.stringify({ changes: listed, more, endpoints }, null, 2));
  } else if (changes.length === 0) console.log(`The same calls are allowed: ${endpoints} ports were compared.`);
  else {
    console.log(changes.map(formatChange).join('\n\n'));
    if (more) console.log('\nThere is more; this is what is largest at each place.');
  }
  if (flags.exitCode && changes.length > 0) process.exitCode = EXIT.failed;
}
