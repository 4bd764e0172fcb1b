/**
 * Requests with a stolen token of the broker's ServiceAccount, which allows nothing beyond what may be granted. On a real API server
 * with the rights and admission policies of the chart. Each refusal must come from the rule that exists for it.
 */
import type { HostileArea, HostileInput } from '../area.ts';
import { CHECKPOINTS } from './checkpoint.ts';
import { DOORS } from './doors.ts';
import { IDENTITIES, type Row } from './identities.ts';
import { POLICIES } from './policies.ts';
import { SIDECARS } from './sidecars.ts';
import { SIGNING_KEYS } from './signing-key.ts';
import { closeKubernetes, type KubernetesWorld, openKubernetes } from './world.ts';

export const kubernetes: HostileArea<KubernetesWorld> = {
  name: "Kubernetes: the broker's ServiceAccount",
  open: openKubernetes,
  close: closeKubernetes,
  inputs: [...IDENTITIES, ...POLICIES, ...DOORS, ...SIDECARS, ...CHECKPOINTS, ...SIGNING_KEYS].map(toInput),
};

function toInput([fault, attack, control, code]: Row): HostileInput<KubernetesWorld> {
  return { fault, code, attack: ({ ask }) => ask(attack), control: ({ ask }) => ask(control) };
}
