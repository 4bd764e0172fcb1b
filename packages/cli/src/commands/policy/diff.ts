/** `meshpass policy diff`: who gains and who loses which call between two sets of manifests. */
import { compareMeaning, formatChange, formatWhere } from '@meshpass/analysis/diff';
import { describeUnplaced, findMeshConfig } from '@meshpass/istio';
import { EXIT, type Output } from '../../command/failure.ts';
import { readManifests } from '../../input/policy-input.ts';
import { assumptionJson, assumptionLines } from '../../output/decision-text.ts';

export interface DiffFlags {
  readonly output: Output;
  readonly context: readonly string[];
  readonly exitCode?: boolean;
}

/** Exits with 4 where something is unknown; with `exitCode`, with 1 where the meaning differs. @throws MeshpassError `usage`, `manifest_*`, `policy_too_large` */
export async function diffPolicy(before: string, after: string, flags: DiffFlags): Promise<void> {
  const context = await readManifests(flags.context);
  const [old, next] = [await readManifests([before]), await readManifests([after])];
  const unread = context.unread ?? old.unread ?? next.unread;
  const [was, is] = [
    [...context.resources, ...old.resources],
    [...context.resources, ...next.resources],
  ];
  const { authorizers, ...config } = findMeshConfig(is);
  // Where the mesh's configuration is not among the manifests, any authorizer may be there.
  const settings = { ...config, ...(config.isRead && { authorizers }) };
  const { changes, more, endpoints, unknown, assumed } = compareMeaning(was, is, settings, {
    ...(unread !== undefined && { unread }),
  });
  const unplaced = describeUnplaced([...was, ...is]);
  if (flags.output === 'json') {
    const listed = changes.map(({ kind, who, what, circumstances, where, before, after }) => ({
      ...{ kind, who, what, circumstances, where: formatWhere(where), before: before.reason, after: after.reason },
    }));
    const unknownPorts = unknown.map(({ reason, where }) => ({ reason, where: formatWhere(where) }));
    console.log(
      JSON.stringify(
        { changes: listed, more, endpoints, unknown: unknownPorts, ...assumptionJson(assumed, unplaced) },
        null,
        2,
      ),
    );
  } else {
    for (const { reason, where } of unknown) console.log(`unknown on ${formatWhere(where)}\n  ${reason}\n`);
    if (changes.length > 0) console.log(changes.map(formatChange).join('\n\n'));
    else if (unknown.length === 0) console.log(`The same calls are allowed: ${endpoints} ports were compared.`);
    else console.log(`On the ${endpoints} ports that were compared the same calls are allowed.`);
    if (more) console.log('\nThere is more; this is what is largest at each place.');
    for (const line of assumptionLines(assumed, unplaced)) console.log(line);
  }
  if (unknown.length > 0 || unread !== undefined) process.exitCode = EXIT.unknown;
  if (unread === undefined && flags.exitCode && changes.length > 0) process.exitCode = EXIT.failed;
}
