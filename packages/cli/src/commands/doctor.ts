/** `meshpass doctor` */
import { readFileSync } from 'node:fs';
import { agentConfig } from '@meshpass/agent/config';
import { realSurroundings } from '@meshpass/agent/discover';
import { MeshpassError } from '@meshpass/identity/error';
import { EXIT, type Output } from '../command/failure.ts';
import { type DoctorLine, runDoctor } from '../doctor/run.ts';

export interface DoctorFlags {
  readonly broker?: string;
  readonly caFile?: string;
  readonly proofFile?: string;
  readonly audience?: string;
  readonly presencePort?: string;
  readonly output: Output;
}

/** @throws MeshpassError `config_invalid` where there is nothing to look at yet */
export async function doctor(flags: DoctorFlags): Promise<void> {
  const config = agentConfig(
    {
      ...{ broker: flags.broker, caFile: flags.caFile, proofFile: flags.proofFile, audience: flags.audience },
      presencePort: flags.presencePort === undefined ? undefined : Number(flags.presencePort),
    },
    process.env,
  );
  const ca = readCa(config.caFile);
  const lines = await runDoctor({ config, ca, surroundings: realSurroundings, now: Date.now });
  console.log(flags.output === 'json' ? JSON.stringify({ lines }, null, 2) : lines.map(textOf).join('\n'));
  process.exitCode = exitCodeFor(lines);
}

function readCa(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `The CA file ${file} cannot be read.`, { cause });
  }
}

/** Where the first thing that failed may come back by itself, so may the rest. */
export function exitCodeFor(lines: readonly DoctorLine[]): number {
  const first = lines.find(({ state }) => state === 'failed');
  if (!first) return EXIT.ok;
  return first.retryable ? EXIT.unavailable : EXIT.failed;
}

function textOf({ check, state, says, code, next, untried }: DoctorLine): string {
  const lines = [`${state.padEnd(7)} ${check}: ${says}${code === undefined ? '' : ` [${code}]`}`];
  if (next !== undefined) lines.push(`        next: ${next}`);
  if (untried !== undefined) lines.push(`        note: ${untried}`);
  return lines.join('\n');
}
