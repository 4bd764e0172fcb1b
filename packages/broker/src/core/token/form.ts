/** Parses the form parameters of `POST /token` (RFC 6749 section 3.2, RFC 8693 section 2.1). */

import { isPlainText, MeshpassError } from '@meshpass/identity';
import { MAX_INITIAL_CSRS } from '@meshpass/identity/wire';
import { MAX_PORT, MIN_FORWARDED_PORT } from '../../attest/index.ts';

/** The maximum length of a proof, in characters. */
const MAX_PROOF_LENGTH = 16_384;
const MAX_PARAMETER = 1_024;
/** The maximum length of a CSR, in characters. A CSR with a P-256 key is about 300 characters long. */
const MAX_CSR = 1_024;
/** The maximum length of each parameter that has a limit of its own, in characters. */
const LONGEST: Readonly<Record<string, number>> = {
  csrs: MAX_INITIAL_CSRS * (MAX_CSR + 1),
  sign_in_token: MAX_PROOF_LENGTH,
};
/** The token exchange grant type, which is the only supported one. */
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** The parsed parameters of `POST /token`. */
export interface TokenForm {
  readonly subjectToken: string;
  readonly subjectTokenType: string;
  readonly requestedTokenType: string | undefined;
  readonly audience: string | undefined;
  readonly codespaceName: string | undefined;
  /**
   * The Codespace port that serves the response to this challenge. If there is no nonce, the client is requesting a
   * challenge for the port.
   */
  readonly presence: { readonly nonce: string | undefined; readonly port: number } | undefined;
  /**
   * The PEM-encoded CSRs for the session's initial certificates. They are not parsed until the session has been opened.
   */
  readonly csrs: readonly string[];
  /** The sign-in that was sent along with the proof. */
  readonly signIn: { readonly issuer: string; readonly token: string } | undefined;
}

const USED = [
  'grant_type',
  'subject_token',
  'subject_token_type',
  'requested_token_type',
  'audience',
  'codespace_name',
  'presence_nonce',
  'presence_port',
  'presence_listener',
  'csrs',
  'sign_in_issuer',
  'sign_in_token',
] as const;
/**
 * Parameters that would change the meaning of the exchange. Other unknown parameters are ignored (RFC 6749 section
 * 3.2).
 */
const REFUSED = ['actor_token', 'actor_token_type', 'resource', 'scope'];

/**
 * Parses and validates the form.
 * @param contentType the header as received
 * @throws MeshpassError `request_malformed`, `grant_type_unsupported`, `proof_too_large`
 */
export function parseTokenForm(contentType: string | undefined, body: string): TokenForm {
  const [type, ...parameters] = (contentType ?? '').split(';').map((part) => part.trim().toLowerCase());
  if (type !== 'application/x-www-form-urlencoded' || parameters.some((one) => one !== 'charset=utf-8'))
    throw malformed('The content type must be application/x-www-form-urlencoded.');
  const form = new URLSearchParams(body);
  const values: Partial<Record<(typeof USED)[number], string>> = {};
  for (const name of USED) {
    const [first, ...more] = form.getAll(name);
    if (more.length > 0) throw malformed(`The ${name} parameter must not be repeated.`);
    // Parameters that have no value are treated as if they had been omitted (RFC 6749 section 3.2).
    if (first === undefined || first === '') continue;
    if (name === 'subject_token' && first.length > MAX_PROOF_LENGTH)
      throw new MeshpassError('proof_too_large', `The subject token is longer than ${MAX_PROOF_LENGTH} characters.`);
    if (name !== 'subject_token' && first.length > (LONGEST[name] ?? MAX_PARAMETER))
      throw malformed(`The ${name} parameter is too long.`);
    if (!isPlainText(first)) throw malformed(`The ${name} parameter contains non-printable characters.`);
    values[name] = first;
  }
  if (values.grant_type === undefined) throw malformed('The grant_type parameter is missing.');
  if (values.grant_type !== TOKEN_EXCHANGE)
    throw new MeshpassError('grant_type_unsupported', `The only supported grant type is ${TOKEN_EXCHANGE}.`);
  for (const name of REFUSED) if (form.has(name)) throw malformed(`The ${name} parameter is not supported.`);
  if (values.subject_token === undefined) throw malformed('The subject_token parameter is missing.');
  if (values.subject_token_type === undefined) throw malformed('The subject_token_type parameter is missing.');
  return {
    subjectToken: values.subject_token,
    subjectTokenType: values.subject_token_type,
    requestedTokenType: values.requested_token_type,
    audience: values.audience,
    codespaceName: values.codespace_name,
    presence: readPresence(values),
    csrs: readCsrs(values.csrs),
    signIn: readSignIn(values),
  };
}

/** Converts CSRs to PEM. They are sent as base64url-encoded DER, separated by dots. */
function readCsrs(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  const csrs = text.split('.');
  const isOne = (csr: string) => csr.length <= MAX_CSR && /^[A-Za-z0-9_-]+$/.test(csr);
  if (csrs.length > MAX_INITIAL_CSRS || !csrs.every(isOne))
    throw malformed(`The csrs parameter must have at most ${MAX_INITIAL_CSRS} base64url CSRs, separated by dots.`);
  const pem = (csr: string) => Buffer.from(csr, 'base64url').toString('base64');
  return csrs.map((csr) => `-----BEGIN CERTIFICATE REQUEST-----\n${pem(csr)}\n-----END CERTIFICATE REQUEST-----\n`);
}

function readSignIn(values: Partial<Record<(typeof USED)[number], string>>): TokenForm['signIn'] {
  const { sign_in_issuer: issuer, sign_in_token: token } = values;
  if (issuer === undefined && token === undefined) return undefined;
  if (issuer === undefined || token === undefined)
    throw malformed('The sign_in_issuer and sign_in_token parameters must be used together.');
  return { issuer, token };
}

function readPresence(values: Partial<Record<(typeof USED)[number], string>>): TokenForm['presence'] {
  const { presence_nonce: nonce, presence_port: port, presence_listener: listener } = values;
  if (nonce === undefined && port === undefined && listener === undefined) return undefined;
  if (listener !== undefined) {
    if (nonce !== undefined || port !== undefined)
      throw malformed('The presence_listener parameter is not allowed with the answer to a challenge.');
    return { nonce: undefined, port: readPort('presence_listener', listener) };
  }
  if (nonce === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(nonce))
    throw malformed('The presence_nonce parameter must be a challenge nonce.');
  return { nonce, port: readPort('presence_port', port) };
}

function readPort(name: string, port: string | undefined): number {
  const number = /^[1-9][0-9]{3,4}$/.test(port ?? '') ? Number(port) : 0;
  if (number < MIN_FORWARDED_PORT || number > MAX_PORT)
    throw malformed(`The ${name} parameter must be a number from ${MIN_FORWARDED_PORT} to ${MAX_PORT}.`);
  return number;
}

function malformed(message: string): MeshpassError {
  return new MeshpassError('request_malformed', message);
}
