/** The form of `POST /token` (RFC 6749 section 3.2, RFC 8693 section 2.1). */
import { MAX_FIRST_CSRS, MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { HIGHEST_PORT, LOWEST_PORT } from '../attest/presence/forwarded-port.ts';

/** Longest proof that is looked at, in characters. */
export const MAX_PROOF = 16_384;
const MAX_PARAMETER = 1_024;
/** Of one CSR: with a P-256 key it has some 300 characters. */
const MAX_CSR = 1_024;
/** Characters, of parameters that may be longer than others. */
const LONGEST: Readonly<Record<string, number>> = { csrs: MAX_FIRST_CSRS * (MAX_CSR + 1), sign_in_token: MAX_PROOF };
/** Said of a grant type that is not this one. */
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

export interface TokenForm {
  readonly subjectToken: string;
  readonly subjectTokenType: string;
  readonly requestedTokenType: string | undefined;
  readonly audience: string | undefined;
  readonly codespaceName: string | undefined;
  /** A port of the Codespace, where the answer to this challenge waits, or (without a nonce) one that is to be given now. */
  readonly presence: { readonly nonce: string | undefined; readonly port: number } | undefined;
  /** PEM, for the first grants of the session; not looked at before there is one. */
  readonly csrs: readonly string[];
  /** A sign-in beside the proof. */
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
/** Parameters that would change the meaning of the exchange; what is merely unknown is ignored (RFC 6749 section 3.2). */
const REFUSED = ['actor_token', 'actor_token_type', 'resource', 'scope'];

/**
 * @param contentType the header, as received
 * @throws MeshpassError `request_malformed`, `grant_type_unsupported`, `proof_too_large`
 */
export function readTokenForm(contentType: string | undefined, body: string): TokenForm {
  const [type, ...parameters] = (contentType ?? '').split(';').map((part) => part.trim().toLowerCase());
  if (type !== 'application/x-www-form-urlencoded' || parameters.some((one) => one !== 'charset=utf-8'))
    throw malformed('The content type must be application/x-www-form-urlencoded.');
  const form = new URLSearchParams(body);
  const values: Partial<Record<(typeof USED)[number], string>> = {};
  for (const name of USED) {
    const [first, ...more] = form.getAll(name);
    if (more.length > 0) throw malformed(`The parameter ${name} must not be given twice.`);
    // Parameters without a value are treated as omitted (RFC 6749 section 3.2).
    if (first === undefined || first === '') continue;
    if (name === 'subject_token' && first.length > MAX_PROOF)
      throw new MeshpassError('proof_too_large', `The subject token is longer than ${MAX_PROOF} characters.`);
    if (name !== 'subject_token' && first.length > (LONGEST[name] ?? MAX_PARAMETER))
      throw malformed(`The parameter ${name} is too long.`);
    if (!isPlainText(first)) throw malformed(`The parameter ${name} has non-printable characters.`);
    values[name] = first;
  }
  if (values.grant_type === undefined) throw malformed('The parameter grant_type is missing.');
  if (values.grant_type !== TOKEN_EXCHANGE)
    throw new MeshpassError('grant_type_unsupported', `The only grant type is ${TOKEN_EXCHANGE}.`);
  for (const name of REFUSED) if (form.has(name)) throw malformed(`The parameter ${name} is not supported.`);
  if (values.subject_token === undefined) throw malformed('The parameter subject_token is missing.');
  if (values.subject_token_type === undefined) throw malformed('The parameter subject_token_type is missing.');
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

/** DER in base64url, separated by dots. */
function readCsrs(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  const csrs = text.split('.');
  const isOne = (csr: string) => csr.length <= MAX_CSR && /^[A-Za-z0-9_-]+$/.test(csr);
  if (csrs.length > MAX_FIRST_CSRS || !csrs.every(isOne))
    throw malformed(`The parameter csrs must be at most ${MAX_FIRST_CSRS} CSRs in base64url, separated by dots.`);
  const pem = (csr: string) => Buffer.from(csr, 'base64url').toString('base64');
  return csrs.map((csr) => `-----BEGIN CERTIFICATE REQUEST-----\n${pem(csr)}\n-----END CERTIFICATE REQUEST-----\n`);
}

function readSignIn(values: Partial<Record<(typeof USED)[number], string>>): TokenForm['signIn'] {
  const { sign_in_issuer: issuer, sign_in_token: token } = values;
  if (issuer === undefined && token === undefined) return undefined;
  if (issuer === undefined || token === undefined)
    throw malformed('The parameters sign_in_issuer and sign_in_token go together.');
  return { issuer, token };
}

function readPresence(values: Partial<Record<(typeof USED)[number], string>>): TokenForm['presence'] {
  const { presence_nonce: nonce, presence_port: port, presence_listener: listener } = values;
  if (nonce === undefined && port === undefined && listener === undefined) return undefined;
  if (listener !== undefined) {
    if (nonce !== undefined || port !== undefined)
      throw malformed('The parameter presence_listener must not come with the answer to a challenge.');
    return { nonce: undefined, port: readPort('presence_listener', listener) };
  }
  if (nonce === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(nonce))
    throw malformed('The parameter presence_nonce must be the nonce of a challenge.');
  return { nonce, port: readPort('presence_port', port) };
}

function readPort(name: string, port: string | undefined): number {
  const number = /^[1-9][0-9]{3,4}$/.test(port ?? '') ? Number(port) : 0;
  if (number < LOWEST_PORT || number > HIGHEST_PORT)
    throw malformed(`The parameter ${name} must be a number from ${LOWEST_PORT} to ${HIGHEST_PORT}.`);
  return number;
}

function malformed(message: string): MeshpassError {
  return new MeshpassError('request_malformed', message);
}
