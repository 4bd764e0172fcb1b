/** A client for the broker's API (see docs/interfaces/protocol.md). Callers decide when to send requests. */
import { randomUUID } from 'node:crypto';
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createDpopProof,
  createPresenceProof,
  type DpopKey,
  ID_TOKEN_TYPE,
  isErrorCode,
  JWT_TOKEN_TYPE,
  MeshpassError,
  PROOF_TYPES,
  type Proof,
  plainText,
  SESSION_TOKEN_TYPE,
  StreamTooLargeError,
  tlsFailure,
} from '@meshpass/identity';
import { CONFIGURATION_HEADER, LeaseResponse, MAX_ANNOUNCED_CONFIGURATION_BYTES } from '@meshpass/identity/channel';
import type { RefusalReportRequest } from '@meshpass/identity/refusal-report';
import {
  type CertificateRequest,
  CertificateResponse,
  PresenceChallenge,
  ServicesResponse,
  SessionResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import type { ZodType } from 'zod';
import { sendAndRead } from '../http.ts';
import { BrokerAgent, type BrokerAgentOptions, brokerUrl } from './broker-agent.ts';
import {
  type ConfigurationContent,
  parseBrokerResponse,
  parseConfiguration,
  withServiceNames,
} from './broker-answers.ts';
import { type PresenceParameters, withPresence } from './presence.ts';

export interface BrokerClientOptions extends BrokerAgentOptions {
  /** The public URL of the broker, which must use https. */
  readonly url: string;
  readonly key: DpopKey;
  /** The connections to the broker. By default, new ones are opened. */
  readonly agent?: BrokerAgent;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  /** The timeout for a request and its response, in milliseconds. */
  readonly timeout?: number;
  /** The cluster domain of the mesh, which all service names must end with. Defaults to `cluster.local`. */
  readonly clusterDomain?: string;
  /** The port in this workspace on which the broker's challenges are answered. Defaults to any free port. */
  readonly presencePort?: number;
  /** Called with the port before a challenge from the broker is answered. */
  readonly onChallenge?: (port: number) => void;
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The maximum size of the response, in bytes. Defaults to `MAX_ANSWER`. */
  readonly largest?: number;
  /** Additional time for the response if the request asks the broker to wait, in milliseconds. */
  readonly patience?: number;
  readonly accessToken?: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  /**
   * Creates the body for each attempt. The body itself proves possession of the session's key, so the request does not
   * need a DPoP proof.
   */
  readonly proven?: () => unknown;
  /** Called with the DPoP proof before the request is sent. */
  readonly onProof?: (dpop: string) => void;
}

/** A configuration that the broker sent over HTTPS, consisting of its signed header and its bytes. */
export interface WholeConfiguration {
  readonly statement: string;
  readonly content: Buffer;
}

/** The maximum time to wait before a request is sent a second time, in milliseconds. */
const LONGEST_WAIT = 2000;
const MAX_ANSWER = 1_048_576;
/**
 * The maximum size of a response that lists services, in bytes. A session may have thousands of services, each with its
 * own permissions.
 */
const MAX_SERVICES = 16 * 1_048_576;
/** How long the agent asks the broker to wait for a session's first configuration, in seconds. */
const LONGEST_CONFIGURATION_WAIT = 25;
/**
 * The maximum `Retry-After` that the agent accepts, in seconds. A larger value could overflow the timer, which would
 * then fire immediately.
 */
const LONGEST_RETRY_AFTER = 300;
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';

export class BrokerClient {
  readonly #options: BrokerClientOptions;
  readonly #base: string;
  readonly #agent: BrokerAgent;
  readonly #clusterDomain: string;
  /** How far the broker's clock is ahead of the local clock, in milliseconds. */
  #skew = 0;

  /** @throws MeshpassError config_invalid if the URL is not https */
  constructor(options: BrokerClientOptions) {
    this.#base = brokerUrl(options.url).href.replace(/\/+$/, '');
    this.#options = options;
    this.#clusterDomain = options.clusterDomain ?? 'cluster.local';
    this.#agent = options.agent ?? new BrokerAgent(options);
  }

  /** The current time according to the broker's clock, in Unix milliseconds. */
  get brokerNow(): number {
    return this.#options.now() + this.#skew;
  }

  /**
   * Opens a session with a proof (`POST /token`). If the broker requires it, this also proves that the agent runs in
   * the Codespace.
   * @param csrs the CSRs for the session's first grants, as PEM. The response then includes the certificates that the
   *   broker can issue immediately
   */
  openSession(proof: Proof, csrs: readonly string[] = []): Promise<SessionResponse> {
    const form: Record<string, string> = {
      ...(csrs.length > 0 && { csrs: csrs.map(base64url).join('.') }),
      ...(proof.type === 'oidc'
        ? { subject_token_type: PROOF_TYPES.oidc, subject_token: proof.token }
        : {
            subject_token_type: PROOF_TYPES.codespace,
            subject_token: proof.token,
            codespace_name: proof.codespaceName,
            ...(proof.signIn && { sign_in_issuer: proof.signIn.issuer, sign_in_token: proof.signIn.token }),
          }),
    };
    const open = async (answer?: PresenceParameters) => {
      const call = {
        method: 'POST',
        path: '/token',
        largest: MAX_SERVICES,
        form: { grant_type: GRANT_TYPE, ...form, ...(answer && presenceParameters(answer)) },
        ...(answer?.onProof && { onProof: answer.onProof }),
      } as const;
      return withServiceNames(await this.call(call, SessionResponse), this.#clusterDomain);
    };
    if (proof.type === 'oidc') return open();
    const { key, presencePort: port = 0, onChallenge } = this.#options;
    return withPresence(open, {
      port,
      onChallenge,
      sign: ({ dpop, expires_in, ...challenge }) =>
        createPresenceProof({
          key,
          challenge,
          broker: this.#base,
          codespaceName: proof.codespaceName,
          expiresAt: Math.floor(this.brokerNow / 1000) + expires_in,
          ...(dpop !== undefined && { dpop }),
        }),
    });
  }

  /** Requests certificates (`POST /certificates`), with one CSR per grant. */
  certificates(accessToken: string, certificates: CertificateRequest['certificates']): Promise<CertificateResponse> {
    return this.call(
      { method: 'POST', path: '/certificates', accessToken, json: { certificates } },
      CertificateResponse,
    );
  }

  /**
   * Exchanges the session token for another token (`POST /token`).
   * @param audience the audience of an ID token for use outside the mesh. If it is undefined, the identity token for
   *   the mesh is requested
   */
  token(accessToken: string, audience?: string): Promise<TokenResponse> {
    const form = {
      grant_type: GRANT_TYPE,
      subject_token_type: SESSION_TOKEN_TYPE,
      subject_token: accessToken,
      requested_token_type: audience === undefined ? JWT_TOKEN_TYPE : ID_TOKEN_TYPE,
      ...(audience === undefined ? {} : { audience }),
    };
    return this.call({ method: 'POST', path: '/token', accessToken, form }, TokenResponse);
  }

  /** Reports refusals that the broker does not know about yet (`POST /session/refusals`). */
  async reportRefusals(accessToken: string, report: RefusalReportRequest): Promise<void> {
    await this.#answer({ method: 'POST', path: '/session/refusals', accessToken, json: report });
  }

  /**
   * Renews the session's lease (`POST /leases`).
   * @param proof creates a new lease proof for each attempt
   * @returns the broker's signed statement, which has not been verified yet
   */
  async renewLease(sessionId: string, proof: () => string): Promise<string> {
    const proven = () => ({ leases: [{ session_id: sessionId, proof: proof() }] });
    const { answers } = await this.call({ method: 'POST', path: '/leases', proven }, LeaseResponse);
    return answers[0]?.statement ?? '';
  }

  async services(accessToken: string): Promise<ServicesResponse> {
    const call = { method: 'GET', path: '/services', accessToken, largest: MAX_SERVICES } as const;
    return withServiceNames(await this.call(call, ServicesResponse), this.#clusterDomain);
  }

  /**
   * Requests the session's configuration (`GET /session/configuration`). If istiod has not sent the first one yet, the
   * broker waits for it (RFC 7240, `Prefer: wait`).
   */
  async configuration(accessToken: string): Promise<WholeConfiguration> {
    const { body, statement } = await this.#answer({
      method: 'GET',
      path: '/session/configuration',
      accessToken,
      headers: { prefer: `wait=${LONGEST_CONFIGURATION_WAIT}` },
      largest: MAX_ANNOUNCED_CONFIGURATION_BYTES,
      patience: LONGEST_CONFIGURATION_WAIT * 1000,
    });
    return { statement: statement ?? '', content: Buffer.from(body) };
  }

  /**
   * Parses the bytes of a configuration.
   * @throws MeshpassError agent_broker_answer_invalid, agent_broker_unreachable
   */
  readConfiguration(content: Buffer): ConfigurationContent {
    return parseConfiguration(parseJson(this.#base, content.toString('utf8')));
  }

  /** Ends the session immediately, along with everything issued under it (`DELETE /session`). */
  async goodbye(accessToken: string): Promise<void> {
    await this.#answer({ method: 'DELETE', path: '/session', accessToken });
  }

  close(): void {
    this.#agent.destroy();
  }

  /**
   * Sends a request to the broker and parses the response.
   * @throws MeshpassError the broker's refusal, or agent_broker_answer_invalid
   */
  async call<T>(call: Call, schema: ZodType<T>): Promise<T> {
    const { body } = await this.#answer(call);
    return parseBrokerResponse(schema, body === '' ? undefined : parseJson(this.#base, body));
  }

  /**
   * Sends a request and returns the response. If the local clock turns out to be wrong, the request is repeated with
   * the broker's time.
   * @throws MeshpassError the broker's refusal
   */
  async #answer(call: Call): Promise<Answer> {
    let answer = await this.#exchange(call);
    // The token endpoint rejects an expired proof with 400 (RFC 6749 section 5.2), while other endpoints respond with
    // 401.
    if (answer.status < 500 && answer.date !== undefined && /"dpop_expired"/.test(answer.body)) {
      // The local clock is wrong, perhaps because the Codespace was asleep. The agent adjusts to the broker's clock
      // (RFC 9449 section 8).
      this.#skew = answer.date - this.#options.now();
      // A broker rejects proofs from the second in which it started, and sends Retry-After in that case.
      if (answer.retryAfter !== undefined) await sleep(Math.min(answer.retryAfter * 1000, LONGEST_WAIT));
      answer = await this.#exchange(call);
    }
    if (answer.status < 200 || answer.status >= 300) throw refusal(this.#base, answer);
    if (answer.body !== '' && !answer.isJson)
      throw brokerUnreachableError(this.#base, 'its response is not JSON', undefined);
    return answer;
  }

  async #exchange(call: Call): Promise<Answer> {
    const { method, path, form, largest = MAX_ANSWER, patience = 0 } = call;
    const headers = this.#headers(call);
    const json = call.proven ? call.proven() : call.json;
    // JSON.stringify returns undefined if the request has neither of them.
    const body: string | undefined = form ? new URLSearchParams(form).toString() : JSON.stringify(json);
    if (body !== undefined) headers['content-type'] = `application/${form ? 'x-www-form-urlencoded' : 'json'}`;
    const signal = AbortSignal.timeout((this.#options.timeout ?? 10_000) + patience);
    const outgoing = request(this.#base + path, { method, headers, agent: this.#agent, signal });
    // The address must be read while the socket is open, because Node.js forgets it once the socket is closed.
    let address: string | undefined;
    outgoing.once('socket', (socket) => {
      address = socket.remoteAddress;
      if (socket.connecting) socket.once('connect', () => (address = socket.remoteAddress));
    });
    try {
      const answer = answerOf(await sendAndRead(outgoing, largest, body));
      if (answer.status === 503) this.#agent.avoid(address);
      return answer;
    } catch (cause) {
      this.#agent.avoid(address);
      outgoing.destroy();
      if (cause instanceof StreamTooLargeError) throw tooLong(path, largest);
      const { code, message } = cause as NodeJS.ErrnoException;
      throw brokerUnreachableError(this.#base, signal.aborted ? 'no response in time' : (code ?? message), cause);
    }
  }

  #headers({ method, path, headers, accessToken, proven, onProof }: Call): Record<string, string> {
    const { key } = this.#options;
    const all: Record<string, string> = { ...headers, accept: 'application/json' };
    if (accessToken !== undefined) all.authorization = `DPoP ${accessToken}`;
    if (!proven) {
      const proof = { key, method, url: this.#base + path, now: Math.floor(this.brokerNow / 1000), jti: randomUUID() };
      all.dpop = createDpopProof({ ...proof, ...(accessToken && { accessToken }) });
      onProof?.(all.dpop);
    }
    return all;
  }
}

function presenceParameters({ nonce, port }: PresenceParameters): Record<string, string> {
  if (nonce === undefined) return { presence_listener: String(port) };
  return { presence_nonce: nonce, presence_port: String(port) };
}

/** Encodes the DER content of a PEM block as base64url. */
function base64url(pem: string): string {
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64').toString('base64url');
}

// The following functions convert refusals from the broker to errors, as well as responses that did not come from a
// broker.

interface Answer {
  readonly status: number;
  readonly isJson: boolean;
  readonly body: string;
  /** The broker's time in Unix milliseconds. Undefined if the response has no valid date. */
  readonly date: number | undefined;
  readonly retryAfter: number | undefined;
  /** The signed header of a configuration. */
  readonly statement: string | undefined;
}

function answerOf({ status, headers, text }: Awaited<ReturnType<typeof sendAndRead>>): Answer {
  const date = Date.parse(headers.date ?? '');
  const retryAfter = Number(headers['retry-after']);
  return {
    status,
    isJson: /^application\/json(?:[ ;]|$)/i.test(headers['content-type'] ?? ''),
    body: text,
    date: Number.isNaN(date) ? undefined : date,
    statement: headers[CONFIGURATION_HEADER]?.toString(),
    retryAfter: retryAfter > 0 ? Math.min(retryAfter, LONGEST_RETRY_AFTER) : undefined,
  };
}

/**
 * Parses a response as JSON.
 * @throws MeshpassError agent_broker_unreachable, because a broker would have responded with JSON
 */
function parseJson(base: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw brokerUnreachableError(base, 'its response is not JSON', cause);
  }
}

/** Converts a refusal to an error. The error has the broker's own error code if there is one. */
function refusal(base: string, answer: Answer): MeshpassError {
  const options = answer.retryAfter === undefined ? {} : { retryAfter: answer.retryAfter };
  try {
    const { error_code: code, error_description: message, decision_id: decision, presence } = JSON.parse(answer.body);
    if (isErrorCode(code) && typeof message === 'string') {
      const text = plainText(message.slice(0, 1000));
      const isId = typeof decision === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(decision);
      const challenge = PresenceChallenge.safeParse(presence);
      return new MeshpassError(code, isId ? `${text} (decision ${decision})` : text, {
        ...options,
        ...(challenge.success && { members: { presence: challenge.data } }),
      });
    }
  } catch {
    // This response does not come from a broker, so it is handled below.
  }
  return brokerUnreachableError(base, `it responded with ${answer.status}`, undefined, options);
}

/** Creates the error for a broker that is unreachable, or for a response that no broker would send. */
export function brokerUnreachableError(
  base: string,
  why: string,
  cause: unknown,
  options: { readonly retryAfter?: number } = {},
) {
  const { what, next } = tlsFailure(cause) ?? {
    what: why,
    next: 'Check the address and that this workspace may connect to it.',
  };
  return new MeshpassError('agent_broker_unreachable', `Cannot reach the broker ${base} (${what}). ${next}`, {
    cause,
    ...options,
  });
}

/** Creates the error for a response that is too large. */
function tooLong(path: string, largest: number): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The agent rejected the broker's response to ${path}: it is longer than ${largest} bytes. The last valid response stays in use.`,
  );
}
