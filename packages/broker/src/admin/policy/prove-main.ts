/**
 * The process that parses and proves access files from callers. It is started by prover.ts, which kills it on a
 * timeout.
 */
import { planChange } from '@meshpass/analysis/plan';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { loadObject } from '@meshpass/istio';
import type { ProvenFile, ProveReply, ProveRequest } from './proof.ts';
import { parseFiles } from './stored-access.ts';

/**
 * The maximum size of the policies, and also of the findings, in characters of JSON. The broker cannot handle other
 * requests while it parses and sends them.
 */
const MAX_ANSWER = 2 * 1024 * 1024;

process.on('message', (request: ProveRequest) => process.send!(answer(request)));
process.on('disconnect', () => process.exit());
process.send!('started');

function answer({ candidate, state }: ProveRequest): ProveReply {
  try {
    const access = 'files' in candidate ? parseFiles(candidate.files) : candidate.access;
    const cluster = state.cluster.flatMap((one) => [...loadObject(one, `${one.kind} ${one.metadata.name}`).resources]);
    return bounded({ access, plan: planChange({ ...state, access, cluster }) });
  } catch (thrown) {
    const { code, message, detail } = toMeshpassError(thrown, 'internal', String(thrown));
    return { refused: { code, message, detail } };
  }
}

/**
 * Throws if a proof is too large to send to the broker.
 * @throws MeshpassError `policy_too_large`
 */
function bounded(proof: ProvenFile): ProvenFile {
  const { manifests, ...said } = proof.plan;
  for (const [what, part] of [
    ['The policies of this access file', manifests],
    ['The description of this change', said],
  ] as const) {
    const { length } = JSON.stringify(part);
    if (length > MAX_ANSWER)
      throw new MeshpassError(
        'policy_too_large',
        `${what} would be ${Math.ceil(length / 1024 / 1024)} MiB, which exceeds the limit of ${MAX_ANSWER / 1024 / 1024} MiB. ` +
          'Split the change: apply some of its grants first, or list teams instead of people.',
      );
  }
  return proof;
}
