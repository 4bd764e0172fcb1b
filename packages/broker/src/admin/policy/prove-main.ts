/** Process that reads and proves callers' access files. prover.ts starts it, and kills it on a timeout. */
import type { Access, OperatorRole } from '@meshpass/access';
import { type AccessChange, planChange } from '@meshpass/analysis/plan';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { loadObject } from '@meshpass/istio';
import { nameOf, type OperatorSession } from '../operator/caller.ts';
import { callerOf } from '../operator/sessions.ts';
import { parseFiles } from './history.ts';
import type { Proof, ProofReply, ProofRequest } from './proof.ts';

/**
 * Maximum size of the policies and of the findings as JSON, characters. Other requests wait while the broker parses and
 * sends them.
 */
const MAX_ANSWER = 2 * 1024 * 1024;

process.on('message', (request: ProofRequest) => process.send!(answer(request)));
process.on('disconnect', () => process.exit());
process.send!('started');

function answer({ candidate, state, signedIn = [] }: ProofRequest): ProofReply {
  try {
    const access = 'files' in candidate ? parseFiles(candidate.files) : candidate.access;
    const { inForce } = state;
    const cluster = state.cluster.flatMap((one) => [...loadObject(one, `${one.kind} ${one.metadata.name}`).resources]);
    const plan = planChange({ ...state, access, cluster });
    return bounded({ access, plan, concerned: inForce ? operatorsConcerned(signedIn, inForce, access) : [] });
  } catch (thrown) {
    const { code, message, detail } = toMeshpassError(thrown, 'internal', String(thrown));
    return { refused: { code, message, detail } };
  }
}

/**
 * Limits the size of a proof.
 * @throws MeshpassError `policy_too_large`
 */
function bounded(proof: Proof): Proof {
  const { manifests, ...said } = proof.plan;
  for (const [what, part] of [
    ['The policies of this access file', manifests],
    ['The description of this change', [said, proof.concerned]],
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

/**
 * Lists the roles that operators gain or lose. Only operators that this broker has seen are included.
 * @param before the access file in force
 * @returns one change per person and role, even if the person has several sessions
 */
function operatorsConcerned(
  sessions: readonly OperatorSession[],
  before: Access,
  after: Access,
): readonly AccessChange[] {
  const rolesOf = (session: OperatorSession, access: Access) =>
    callerOf(session, access).roles.map(({ role }): OperatorRole => role);
  const told = new Map<string, AccessChange>();
  for (const session of sessions) {
    const [old, now] = [rolesOf(session, before), rolesOf(session, after)];
    const tell = (roles: readonly OperatorRole[], others: readonly OperatorRole[], does: 'gains' | 'loses') => {
      for (const role of roles.filter((one) => !others.includes(one)))
        told.set(`${session.subject} ${does} ${role}`, {
          path: `operators.${role}`,
          does,
          wider: does === 'gains',
          says: `${nameOf(session)}, who is signed in, ${does} the role ${role}`,
        });
    };
    tell(now, old, 'gains');
    tell(old, now, 'loses');
  }
  return [...told.values()];
}
