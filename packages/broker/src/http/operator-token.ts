/** Who may act as an operator: whoever has the token that the broker was started with. */
import { MeshpassError } from '@meshpass/identity';
import { equalInConstantTime } from '../token/equal.ts';

/**
 * @param authorization the header as received
 * @param token undefined where the broker was started without one: then nobody is an operator
 */
export function isOperator(authorization: string | undefined, token: string | undefined): boolean {
  const given = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  return token !== undefined && equalInConstantTime(given, token);
}

/** @throws MeshpassError `operator_unauthorized` where isOperator() says no */
export function refuseStranger(authorization: string | undefined, token: string | undefined): void {
  if (!isOperator(authorization, token))
    throw new MeshpassError('operator_unauthorized', 'This needs the token of an operator.');
}
