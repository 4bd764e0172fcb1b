/** `meshpass drill` */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { agentConfig } from '@meshpass/agent/config';
import { controlPath } from '@meshpass/agent/control';
import { discover } from '@meshpass/agent/discover';
import { type DrillCause, type DrillReport, failedRows } from '@meshpass/identity/drill-report';
import { MeshpassError } from '@meshpass/identity/error';
import { EXIT, type Output } from '../command/failure.ts';
import { ask } from '../drill/ask.ts';
import { openCluster } from '../drill/cluster.ts';
import { verifyEvidence } from '../drill/evidence.ts';
import { asOperator } from '../drill/operator.ts';
import type { Inside } from '../drill/replays.ts';
import { runDrill } from '../drill/run.ts';
import { drillTable } from '../drill/table.ts';
import { hostPort, wholeNumber } from '../input/host-port.ts';
import { operatorClient } from '../operator/client.ts';

export interface DrillFlags {
  readonly broker?: string;
  readonly caFile?: string;
  readonly proofFile?: string;
  readonly audience?: string;
  readonly cause: DrillCause;
  readonly rebuild?: boolean;
  readonly wait: string;
  readonly service?: string;
  readonly path?: string;
  readonly operator?: string;
  readonly operatorToken?: string;
  readonly kubeconfig?: string;
  readonly rootNamespace: string;
  readonly insideGateway?: string;
  readonly insidePod?: readonly string[];
  readonly evidence?: string;
  readonly verify?: string;
  readonly jwks?: string;
  readonly output: Output;
}

export async function drill(flags: DrillFlags): Promise<void> {
  if (flags.verify !== undefined) return await verify(flags, flags.verify);
  const { broker: url, caFile, proofFile, audience, runtimeDirectory, presencePort } = config(flags);
  const broker = url.replace(/\/+$/, '');
  if (!broker.startsWith('https://'))
    throw new MeshpassError('config_invalid', `The broker's URL must begin with https://, and is ${broker}.`);
  const ca = readCa(caFile);
  if (existsSync(controlPath(runtimeDirectory)))
    throw new MeshpassError(
      'agent_already_running',
      'A drill would end the session of the agent that runs here: run it in a scratch Codespace, or meshpass down first.',
    );
  const isOperator = flags.operatorToken !== undefined || process.env.MESHPASS_OPERATOR_TOKEN !== undefined;
  for (const [needing, wanted] of [
    ['--cause admin', flags.cause === 'admin'],
    ['--evidence', flags.evidence !== undefined],
  ] as const)
    if (wanted && !isOperator) throw new MeshpassError('usage', `${needing} needs --operator-token.`);
  if (isOperator && flags.operator === undefined)
    throw new MeshpassError('usage', 'An operator needs the operator listener of the broker: --operator.');
  const { operatorToken } = flags;
  const operator = isOperator
    ? asOperator(
        operatorClient(
          { operator: flags.operator!, ...(operatorToken && { operatorToken }), ...(caFile && { caFile }) },
          process.env,
        ),
      )
    : undefined;
  const cluster = flags.kubeconfig ? await openCluster(flags.kubeconfig, flags.rootNamespace) : undefined;
  try {
    const report = await runDrill({
      ...{
        broker,
        ca,
        presencePort,
        proofs: discover({ proofFile, audience }),
        cause: flags.cause,
        rebuild: flags.rebuild ?? false,
      },
      ...{ wait: wholeNumber(flags.wait, '--wait') * 1000, choice: { service: flags.service, path: flags.path } },
      ...{ inside: insideOf(flags), operator, cluster },
      progress: (what) => {
        // Whoever is to end it from outside has to know when.
        if (flags.cause === 'outside' || (flags.output === 'text' && process.stderr.isTTY)) console.error(`… ${what}`);
      },
    });
    if (flags.evidence !== undefined)
      writeFileSync(flags.evidence, `${await operator!.sign(report)}\n`, { mode: 0o644 });
    print(report, flags.output);
    process.exitCode = failedRows(report).length === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    cluster?.close();
  }
}

async function verify(flags: DrillFlags, file: string): Promise<void> {
  const { drill: report, witness } = await verifyEvidence(read(file), await keysOf(flags));
  if (flags.output === 'json') console.log(JSON.stringify({ drill: report, witness }, null, 2));
  else {
    print(report, 'text');
    const { closed_at: closedAt, close_cause: cause } = witness.session;
    console.log(
      `Signed by ${witness.broker} at ${witness.signed_at}; its store says: closed at ${closedAt} (${cause}).`,
    );
  }
  process.exitCode = failedRows(report).length === 0 ? EXIT.ok : EXIT.failed;
}

async function keysOf(flags: DrillFlags): Promise<unknown> {
  if (flags.jwks !== undefined) {
    try {
      return JSON.parse(read(flags.jwks));
    } catch (cause) {
      throw new MeshpassError('config_invalid', `${flags.jwks} is not a JWK Set.`, { cause });
    }
  }
  const { broker, caFile } = config(flags);
  const { status, json } = await ask(`${broker.replace(/\/+$/, '')}/jwks`, { method: 'GET', ca: readCa(caFile) });
  if (status === 200) return json;
  throw new MeshpassError('agent_broker_unreachable', `The broker answered ${status} where its keys should be.`);
}

function print(report: DrillReport, output: Output): void {
  console.log(output === 'json' ? JSON.stringify(report, null, 2) : drillTable(report).join('\n'));
}

function config({ broker, caFile, proofFile, audience }: DrillFlags) {
  return agentConfig({ broker, caFile, proofFile, audience }, process.env);
}

function readCa(file: string | undefined): string | undefined {
  return file === undefined ? undefined : read(file);
}

function insideOf({ insideGateway, insidePod = [] }: DrillFlags): Inside {
  const pods = insidePod.map((text) => {
    const [service, address] = text.split('=');
    if (!service || !address)
      throw new MeshpassError('usage', `--inside-pod must be SERVICE:PORT=HOST:PORT, not "${text}".`);
    return [service, hostPort(address, '--inside-pod')] as const;
  });
  return { gateway: insideGateway ? hostPort(insideGateway, '--inside-gateway') : undefined, pods: new Map(pods) };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `${file} cannot be read.`, { cause });
  }
}
