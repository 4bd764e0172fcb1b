/** `meshpass rotate`: changes the key that signs tokens, and shows what tokens and certificates rest on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import type { Output } from '../command/failure.ts';
import { type OperatorCall, type OperatorOptions, operatorClient } from '../operator/client.ts';
import { type Trust, trustText } from '../operator/trust-text.ts';

export interface RotateOptions extends OperatorOptions {
  /** Only show. */
  readonly status?: boolean;
  /** Drop every key that there is, at once. */
  readonly revokeNow?: boolean;
  readonly yes?: boolean;
  /** Return when the new key signs. */
  readonly wait?: boolean;
  readonly reason?: string;
  readonly output: Output;
}

interface Rotated {
  readonly kid: string;
  /** Absent: it was not revoked. */
  readonly dropped?: readonly string[];
  /** Whether the key was made now; another rotation may have been under way. */
  readonly made?: boolean;
}

const LOOK_MS = 1_000;

/** @throws MeshpassError `usage` where flags contradict each other or a revocation is not confirmed; what the broker answers */
export async function rotate(options: RotateOptions): Promise<void> {
  const call = operatorClient(options, process.env);
  if (options.status) {
    if (options.revokeNow || options.wait) throw new MeshpassError('usage', '--status only shows: it goes alone.');
    print(options, await trust(call));
    return;
  }
  if (options.revokeNow && !options.yes)
    throw new MeshpassError(
      'usage',
      '--revoke-now breaks what is open to the world: every identity token and ID token that was given so far is worthless ' +
        'at once. Agents get new ones within a heartbeat, and until then their requests are refused with 401. Confirm it with --yes.',
    );
  const order = { ...(options.revokeNow && { revoke: true }), ...(options.reason && { reason: options.reason }) };
  const rotated = (await call('POST', '/admin/trust/rotate', order)) as Rotated;
  if (options.wait) await untilItSigns(call, rotated.kid);
  const now = await trust(call);
  if (options.output === 'text') console.log(`${whatWasDone(rotated)}\n`);
  print(options, now, rotated);
}

function whatWasDone({ kid, dropped, made }: Rotated): string {
  if (dropped) return `Key ${kid} signs from now on. Dropped: ${dropped.join(', ')}.`;
  return made
    ? `Key ${kid} was made. It signs as soon as everybody who verifies tokens has had it for long enough.`
    : `A change is under way already: key ${kid} is the next one.`;
}

/** A broker that restarts meanwhile goes on by itself, so what asks for it goes on asking. */
async function untilItSigns(call: OperatorCall, kid: string): Promise<void> {
  for (;;) {
    const found = await trust(call).catch((thrown: unknown) => {
      if (thrown instanceof MeshpassError && thrown.retryable) return undefined;
      throw thrown;
    });
    const key = found?.signing_keys.find((one) => one.kid === kid);
    if (key?.part === 'signing' || key?.part === 'retired') return;
    if (found && !key)
      throw new MeshpassError('not_found', `Key ${kid} is gone before it has signed: another order dropped it.`);
    await sleep(LOOK_MS);
  }
}

async function trust(call: OperatorCall): Promise<Trust> {
  return (await call('GET', '/admin/trust')) as Trust;
}

function print(options: RotateOptions, now: Trust, rotated?: Rotated): void {
  const { kid, dropped, made } = rotated ?? {};
  if (options.output === 'text') console.log(trustText(now));
  else console.log(JSON.stringify({ ...(rotated && { kid, dropped, made }), ...now }, null, 2));
}
