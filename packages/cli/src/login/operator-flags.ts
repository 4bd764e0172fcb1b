/** Which broker an operator means: `--operator`, or `--broker`, which is the same here. */
import { type OptionsOf, text } from '../command/flag.ts';
import { broker, OPERATOR_ORIGIN, operatorFlags } from '../command/shared-flags.ts';

export const ownFlags = {
  operator: text('<url>', "origin of the broker's operator listener, for example through kubectl port-forward", {
    env: 'MESHPASS_OPERATOR',
    defaultText: `--broker, else ${OPERATOR_ORIGIN}`,
  }),
  broker,
  caFile: operatorFlags.caFile,
};

export function originOf({ operator, broker }: Pick<OptionsOf<typeof ownFlags>, 'operator' | 'broker'>): string {
  return operator ?? broker ?? OPERATOR_ORIGIN;
}
