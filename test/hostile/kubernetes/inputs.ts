/**
 * What somebody can do who holds the token of the broker's ServiceAccount: nothing beyond what may be granted. On a real API server
 * with the rights and admission policies of the chart. A refusal has to come from the rule that is there for it.
 */
import type { HostileArea, HostileInput } from '../area.ts';
import { CHECKPOINTS } from './checkpoint.ts';
import { DOORS } from './doors.ts';
import { IDENTITIES, type Row } from './identities.ts';
import { POLICIES } from './policies.ts';
import { SIDECARS } from './sidecars.ts';
import { closeKubernetes, type KubernetesWorld, openKubernetes } from './world.ts';

export const kubernetes: HostileArea<KubernetesWorld> = {
  name: "Kubernetes: the broker's ServiceAccount",
  open: openKubernetes,
  close: closeKubernetes,
  inputs: [...IDENTITIES, ...POLICIES, ...DOORS, ...SIDECARS, ...CHECKPOINTS].map(toInput),
};

function toInput([fault, attack, control, code]: Row): HostileInput<KubernetesWorld> {
  return { fault, code, attack: ({ ask }) => ask(attack), control: ({ ask }) => ask(control) };
}
