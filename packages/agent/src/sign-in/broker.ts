/** Client for the broker's sign-in endpoints (docs/interfaces/protocol.md). */
import { SignInOffer, SignInsResponse } from '@meshpass/identity/sign-in/wire';
import { readAnswer } from '../session/broker-answers.ts';
import type { BrokerClient } from '../session/broker-client.ts';

export type SignInBroker = ReturnType<typeof signInBroker>;

/**
 * Creates the client. Its methods throw MeshpassError: the broker's refusal, agent_broker_unreachable,
 * agent_broker_answer_invalid.
 */
export function signInBroker(client: Pick<BrokerClient, 'call'>) {
  const path = '/session/sign-in';
  const read = (json: unknown) => readAnswer(SignInsResponse, json);
  return {
    /** Returns the client with which users sign in at an issuer from the access file. */
    offer: (name: string) =>
      client.call({ method: 'GET', path: `/sign-in/${encodeURIComponent(name)}` }, (json) =>
        readAnswer(SignInOffer, json),
      ),
    read: (accessToken: string) => client.call({ method: 'GET', path, accessToken }, read),
    signIn: (accessToken: string, issuer: string, idToken: string) =>
      client.call({ method: 'POST', path, accessToken, json: { issuer, id_token: idToken } }, read),
    signOut: (accessToken: string, issuer: string) =>
      client.call({ method: 'POST', path: '/session/sign-out', accessToken, json: { issuer } }, read),
  };
}
