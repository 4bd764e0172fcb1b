/**
 * LAB ONLY. Switches off one step of what ends a session, so that tests can see a drill find it. A broker that runs with
 * this lets closed sessions go on; it refuses to start unless a second variable says that this is wanted, and says so in
 * its log at every start.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Logger } from 'pino';
import type { Kubernetes } from './mesh/kubernetes.ts';
import type { Feed } from './session/feed.ts';
import type { Live, LiveIndex } from './session/live.ts';

export const LAB_ONLY_BROKEN_STEPS = ['edges', 'renewal', 'deny', 'serviceaccount'] as const;
export type LabOnlyBrokenStep = (typeof LAB_ONLY_BROKEN_STEPS)[number];

const WHICH = 'MESHPASS_LAB_ONLY_BREAK_REVOCATION';
const WANTED = 'MESHPASS_LAB_ONLY_CLOSED_SESSIONS_SHALL_KEEP_WORKING';

/** @throws MeshpassError `config_invalid` where it is named without the second variable, or is no step */
export function readLabOnlyBrokenStep(
  env: Readonly<Record<string, string | undefined>>,
  log: Pick<Logger, 'fatal'>,
): LabOnlyBrokenStep | undefined {
  const named = env[WHICH];
  if (named === undefined || named === '') return undefined;
  const step = LAB_ONLY_BROKEN_STEPS.find((one) => one === named);
  if (!step) throw new MeshpassError('config_invalid', `${WHICH} is one of ${LAB_ONLY_BROKEN_STEPS.join(', ')}.`);
  if (env[WANTED] !== 'yes')
    throw new MeshpassError(
      'config_invalid',
      `${WHICH} makes credentials of closed sessions work. It is for tests in a lab; unset it.`,
    );
  log.fatal({ broken: step }, 'LAB ONLY: closed sessions keep working, because a step of their end is switched off');
  return step;
}

/** `edges`: they never hear that a session is over. */
export function labOnlyFeed(step: LabOnlyBrokenStep | undefined, feed: Feed): Feed {
  return step === 'edges' ? { ...feed, closed: () => undefined } : feed;
}

/** `renewal`: the broker goes on serving the token of a session that is over. */
export function labOnlyLiveIndex(step: LabOnlyBrokenStep | undefined, index: LiveIndex): LiveIndex {
  if (step !== 'renewal') return index;
  const undead = new Map<string, Live>();
  return {
    ...index,
    byToken: (hash) => index.byToken(hash) ?? undead.get(hash),
    remove: (live) => {
      index.remove(live);
      const { ended: _, ...session } = live;
      const leaseUntil = Number.MAX_SAFE_INTEGER;
      undead.set(live.session.tokenHash, { ...session, leaseUntil, abort: new AbortController() });
    },
  };
}

/** `renewal` again: what is asked before a certificate is signed. */
export function labOnlyIsRevoked(
  step: LabOnlyBrokenStep | undefined,
  isRevoked: (spiffeId: string) => boolean,
): (spiffeId: string) => boolean {
  return step === 'renewal' ? () => false : isRevoked;
}

/** `deny` and `serviceaccount`: Kubernetes is not told. */
export function labOnlyKubernetes(step: LabOnlyBrokenStep | undefined, kubernetes: Kubernetes): Kubernetes {
  if (step === 'deny') return { ...kubernetes, apply: async () => undefined };
  if (step === 'serviceaccount') return { ...kubernetes, deleteServiceAccount: async () => undefined };
  return kubernetes;
}
