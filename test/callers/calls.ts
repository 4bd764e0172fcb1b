/** The calls that a test can have made, and the two places they are made from. */
import type { HttpAnswer, HttpCall } from './http-call.ts';
import type { TcpAnswer, TcpCall } from './tcp-call.ts';

/** `pod`: host `client`, behind a stock sidecar. `codespace`: host `workspace`, after `meshpass up`. */
export type Side = 'pod' | 'codespace';

/** Callers, the pod first: its outcome is the expected one of the other. */
export const SIDES: readonly Side[] = ['pod', 'codespace'];

/** An exchange in a protocol, by its name in test/protocols/exchanges. */
export interface ExchangeCall {
  readonly do: 'exchange';
  readonly name: string;
}

export type Call = HttpCall | TcpCall | ExchangeCall;

export type AnswerTo<C extends Call> = C extends HttpCall ? HttpAnswer : C extends TcpCall ? TcpAnswer : string;
