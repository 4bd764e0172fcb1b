/** What the agent needs to sign people in; loaded after the first connection is under way. */
export { signInBroker } from './broker.ts';
export { askIssuer } from './issuer-http.ts';
export { SignIns } from './sign-ins.ts';
