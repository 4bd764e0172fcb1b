import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../command/define.ts';
import { type OptionsOf, text, toggle } from '../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../command/shared-flags.ts';
import { type OperatorCall, operatorClient } from '../operator/client.ts';
import { type Trust, trustText } from '../operator/trust-text.ts';

const flags = {
  status: toggle('only show the keys, the roots of the mesh, and how many certificates still need each root'),
  wait: toggle('return once the new key signs'),
  revokeNow: toggle(
    'drop every key at once: all tokens so far become invalid, and requests fail until agents have renewed them',
  ),
  yes: toggle('confirm --revoke-now'),
  reason: text('<text>', 'reason for the audit log'),
  ...operatorFlags,
  output,
};
type RotateOptions = OptionsOf<typeof flags>;

export const command = defineCommand({
  about: 'No request fails while the key changes.',
  flags,
  env: TOKEN_ENV,
  examples: ['meshpass rotate --status', 'meshpass rotate --wait --reason "yearly"'],
  page: 'docs/rotation.md',
  run: rotate,
});

interface Rotated {
  readonly kid: string;
  /** Absent: it was not revoked. */
  readonly dropped?: readonly string[];
  /** Whether the key was made now; another rotation may have been under way. */
  readonly made?: boolean;
}

const LOOK_MS = 1_000;

/** @throws MeshpassError `usage` where flags contradict each other or a revocation is not confirmed; what the broker answers */
async function rotate(options: RotateOptions): Promise<void> {
  const call = operatorClient(options, process.env);
  if (options.status) {
    if (options.revokeNow || options.wait)
      throw new MeshpassError('usage', '--status cannot be combined with --wait or --revoke-now.');
    print(options, await trust(call));
    return;
  }
  if (options.revokeNow && !options.yes)
    throw new MeshpassError(
      'usage',
      '--revoke-now invalidates every identity token and ID token issued so far, at once. Agents get new ones within a ' +
        'heartbeat; until then their requests are refused with 401. Confirm with --yes.',
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
    ? `Key ${kid} was made. It signs once it has been published for long enough.`
    : `A rotation is already in progress: key ${kid} is the next one.`;
}

/** A broker that restarts continues the rotation, so errors that are worth a retry are ignored. */
async function untilItSigns(call: OperatorCall, kid: string): Promise<void> {
  for (;;) {
    const found = await trust(call).catch((thrown: unknown) => {
      if (thrown instanceof MeshpassError && thrown.retryable) return undefined;
      throw thrown;
    });
    const key = found?.signing_keys.find((one) => one.kid === kid);
    if (key?.part === 'signing' || key?.part === 'retired') return;
    if (found && !key)
      throw new MeshpassError(
        'not_found',
        `Key ${kid} was dropped by another rotation before it signed. Run meshpass rotate --status.`,
      );
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
