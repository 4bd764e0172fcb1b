import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { type OptionsOf, text, toggle } from '../command/flag.ts';
import type { Answer } from '../command/outcome.ts';
import { operatorFlags, output, TOKEN_ENV } from '../command/shared-flags.ts';
import { createOperatorClient, type OperatorCall } from '../operator/client.ts';
import { formatTable } from '../output/table.ts';

const flags = {
  status: toggle('only show the keys, the mesh roots, and how many certificates still need each root'),
  wait: toggle('wait until the new key signs'),
  revokeNow: toggle(
    'immediately drop every key that has signed: all issued tokens become invalid, and agents renew theirs',
  ),
  yes: toggle('confirm --revoke-now'),
  reason: text('<text>', 'reason for the audit log'),
  ...operatorFlags,
  output,
};
type RotateOptions = OptionsOf<typeof flags>;

export const command = defineCommand({
  about: 'No requests fail while the key changes.',
  flags,
  env: TOKEN_ENV,
  examples: ['meshpass rotate --status', 'meshpass rotate --wait --reason "yearly"'],
  page: 'docs/rotation.md',
  run: rotate,
});

interface Rotated extends Trust {
  readonly kid: string;
  /** The IDs of the revoked keys. Absent if no key was revoked. */
  readonly dropped?: readonly string[];
  /** Whether this request started the rotation. False if a rotation was already in progress. */
  readonly made?: boolean;
}

const LOOK_MS = 1_000;

/**
 * Rotates the signing key.
 * @throws MeshpassError `usage` if flags conflict or a revocation is not confirmed, or the error that the broker
 *   returns
 */
async function rotate(options: RotateOptions): Promise<Answer> {
  const call = createOperatorClient(options);
  if (options.status) {
    if (options.revokeNow || options.wait)
      throw new MeshpassError('usage', '--status cannot be combined with --wait or --revoke-now.');
    const now = await trust(call);
    return { json: now, text: () => formatTrust(now) };
  }
  if (options.revokeNow && !options.yes)
    throw new MeshpassError(
      'usage',
      '--revoke-now immediately invalidates every identity token, ID token and operator token issued so far. Agents renew theirs at once, but ' +
        'requests from an agent that misses the notice fail with 401 until its next heartbeat. Confirm with --yes.',
    );
  const order = { ...(options.revokeNow && { revoke: true }), ...(options.reason && { reason: options.reason }) };
  const before = options.wait ? signingKey(await trust(call)) : undefined;
  const { kid, dropped, made, ...at } = (await call('POST', '/admin/trust/rotate', order)) as Rotated;
  const rotated = { kid, dropped, made };
  if (before !== undefined) await untilAnotherSigns(call, before);
  // A revocation signs out all operators, so another request would be rejected. Use the state in the response instead.
  const now = dropped ? at : await trust(call);
  return { json: { ...rotated, ...now }, text: () => [whatWasDone(rotated), '', ...formatTrust(now)] };
}

function whatWasDone({ kid, dropped, made }: Omit<Rotated, keyof Trust>): string {
  if (dropped)
    return `Key ${kid} now signs tokens. Dropped: ${dropped.join(', ')}. Operators who signed in with meshpass login are signed out.`;
  return made
    ? `Key ${kid} is next. It signs once it has been published for long enough.`
    : `A rotation is already in progress: key ${kid} is the next one.`;
}

/**
 * Waits until a new key signs tokens. Retryable errors are ignored, because the broker resumes the rotation after a
 * restart. If the first new key has not signed anything by then, the broker may use yet another one.
 */
async function untilAnotherSigns(call: OperatorCall, before: string): Promise<void> {
  for (;;) {
    const found = await trust(call).catch((thrown: unknown) => {
      if (thrown instanceof MeshpassError && thrown.retryable) return undefined;
      throw thrown;
    });
    if (found && signingKey(found) !== before) return;
    await sleep(LOOK_MS);
  }
}

function signingKey({ signing_keys }: Trust): string | undefined {
  return signing_keys.find(({ part }) => part === 'signing')?.kid;
}

async function trust(call: OperatorCall): Promise<Trust> {
  return (await call('GET', '/admin/trust')) as Trust;
}

/** The response of `GET /admin/trust`. */
export interface Trust {
  readonly signing_keys: readonly {
    readonly kid: string;
    readonly part: 'signing' | 'next' | 'retired';
    readonly in_mesh: boolean;
    readonly signs_from?: string;
    readonly until?: string;
  }[];
  readonly roots: {
    readonly trusted: readonly {
      /** The SHA-256 fingerprint of the certificate, in hex. */
      readonly sha256: string;
      readonly subject: string;
      readonly not_after: string;
      /** The number of certificates in live sessions that chain to this root. */
      readonly certificates: number;
    }[];
    readonly other_certificates: number;
  };
}

/** Formats the signing keys and the mesh roots. */
function formatTrust({ signing_keys: keys, roots }: Trust): readonly string[] {
  const shown = roots.trusted.map((root) => ({ ...root, subject: root.subject.replaceAll('\n', ', ') }));
  return [
    'Token signing keys',
    ...formatTable(keys, ['kid', 'part', 'in_mesh', 'signs_from', 'until']),
    '',
    'Mesh roots, with the number of live certificates under each',
    ...formatTable(shown, ['sha256', 'subject', 'not_after', 'certificates']),
    `Certificates under other roots, or signed before the broker started: ${roots.other_certificates}`,
  ];
}
