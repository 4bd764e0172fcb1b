/** Client for the broker's sign-in endpoints (docs/interfaces/protocol.md). */
import { SignInOffer, SignInsResponse } from '@meshpass/identity/sign-in/wire';
import { readAnswer } from '../session/broker-answers.ts';
import type { BrokerClient } from '../session/broker-client.ts';

export interface SignInBroker {
  /** Returns the client with which users sign in at an issuer from the access file. */
  offer(name: string): Promise<SignInOffer>;
  read(accessToken: string): Promise<SignInsResponse>;
  signIn(accessToken: string, issuer: string, idToken: string): Promise<SignInsResponse>;
  signOut(accessToken: string, issuer: string): Promise<SignInsResponse>;
}

/**
 * Creates the client. Its methods throw MeshpassError: the broker's refusal, agent_broker_unreachable,
 * agent_broker_answer_invalid.
 */
export function signInBroker(client: Pick<BrokerClient, 'call'>): SignInBroker {
  const path = '/session/sign-in';
  const read = (json: unknown) => readAnswer(SignInsResponse, json);
  return {
    offer: (name) =>
      client.call({ method: 'GET', path: `/sign-in/${encodeURIComponent(name)}` }, (json) =>
        readAnswer(SignInOffer, json),
      ),
    read: (accessToken) => client.call({ method: 'GET', path, accessToken }, read),
    signIn: (accessToken, issuer, idToken) =>
      client.call({ method: 'POST', path, accessToken, json: { issuer, id_token: idToken } }, read),
    signOut: (accessToken, issuer) =>
      client.call({ method: 'POST', path: '/session/sign-out', accessToken, json: { issuer } }, read),
  };
}
