/** `meshpass policy apply`, `history` and `rollback`: changes of the access file that the broker makes. */
import { realpathSync } from 'node:fs';
import { basename, dirname, relative } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { formatPlan, type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity/error';
import type { Output } from '../../command/failure.ts';
import { wholeNumber } from '../../input/host-port.ts';
import { actionsToken } from '../../operator/actions-token.ts';
import { type OperatorCall, operatorClient } from '../../operator/client.ts';
import { exitCodeOf, type PlanFlags } from './plan.ts';

export interface BrokerFlags {
  readonly broker: string;
  readonly operatorToken?: string;
  readonly policyAudience: string;
  readonly caFile?: string;
}

export interface ApplyFlags extends BrokerFlags {
  readonly access: string;
  readonly plan?: string;
  readonly dryRun?: boolean;
  readonly acceptUnknown?: boolean;
  readonly output: PlanFlags['output'];
}

type Planned = Omit<Plan, 'manifests' | 'assumed'> & Partial<Pick<Plan, 'assumed'>>;

/** @throws MeshpassError what the broker answers: `plan_stale`, `plan_refused`, `plan_unauthorized`, `access_*` */
export async function applyPolicy(flags: ApplyFlags): Promise<void> {
  const order = filesOf(flags.access);
  const planned = (await (await callerOf(flags))('POST', '/policy/plan', order)) as Planned;
  const { acceptUnknown = false } = flags;
  const refused = refusals(planned, { acceptUnknown }).length > 0;
  if (flags.output === 'json') console.log(JSON.stringify(planned, null, 2));
  else console.log(formatPlan(planned, flags.output));
  if (flags.dryRun || refused) {
    if (refused) process.exitCode = exitCodeOf(planned, { acceptUnknown });
    return;
  }
  if (flags.plan !== undefined && flags.plan !== planned.id)
    throw new MeshpassError(
      'plan_stale',
      'What was planned is not what would be applied now: plan again, and look at it.',
    );
  // Each token is taken for one change.
  await (await callerOf(flags))('POST', '/policy/apply', {
    ...{ ...order, plan: planned.id },
    ...(acceptUnknown && { accept_unknown: true }),
  });
  if (flags.output !== 'json') console.log('\nApplied: in force now.');
}

export async function policyHistory(flags: BrokerFlags & { readonly output: Output }): Promise<void> {
  const answer = (await (
    await callerOf(flags)
  )('GET', '/policy/history')) as {
    versions: readonly { version: number; time: string; by: string; reason: string; plan: string }[];
  };
  if (flags.output === 'json') console.log(JSON.stringify(answer, null, 2));
  else if (answer.versions.length === 0)
    console.log('No access file was applied by plan: the one on disk is in force.');
  for (const { version, time, reason, plan } of flags.output === 'json' ? [] : answer.versions)
    console.log(`${String(version).padStart(4)}  ${time}  ${plan.slice(0, 12)}  ${reason}`);
}

export async function rollBackPolicy(
  version: string,
  flags: BrokerFlags & {
    readonly reason: string;
    readonly acceptUnknown?: boolean;
    readonly output: PlanFlags['output'];
  },
): Promise<void> {
  const order = {
    ...{ version: wholeNumber(version, 'VERSION'), reason: flags.reason },
    ...(flags.acceptUnknown && { accept_unknown: true }),
  };
  const planned = (await operatorClient({ ...flags, operator: flags.broker }, process.env)(
    'POST',
    '/policy/rollback',
    order,
  )) as Planned;
  console.log(flags.output === 'json' ? JSON.stringify(planned, null, 2) : formatPlan(planned, flags.output));
}

/** As a job of GitHub Actions, or as an operator. */
async function callerOf(flags: BrokerFlags): Promise<OperatorCall> {
  const reach = { operator: flags.broker, ...(flags.caFile !== undefined && { caFile: flags.caFile }) };
  const token = await actionsToken(flags.policyAudience, process.env);
  if (token !== undefined) return operatorClient(reach, { MESHPASS_OPERATOR_TOKEN: token });
  return operatorClient(
    { ...reach, ...(flags.operatorToken !== undefined && { operatorToken: flags.operatorToken }) },
    process.env,
  );
}

/** The file and all that it includes, by their paths from its directory. */
function filesOf(path: string): { readonly main: string; readonly files: Readonly<Record<string, string>> } {
  const files: Record<string, string> = {};
  const real: string[] = [];
  loadAccess(path, {
    name: path,
    onRead: (from, text) => {
      files[relative(dirname(realpathSync(path)), from)] = text;
      real.push(from);
    },
  });
  return { main: basename(real[0]!), files };
}
