/** The broker's API as the agent calls it (docs/protocol.md). Knows nothing of when to call. */
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { ID_TOKEN_TYPE, JWT_TYPE, PROOF_TYPES, type Proof, SESSION_TOKEN_TYPE } from '@meshpass/identity/attestation';
import { createDpopProof, type DpopKey } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import { createPresenceProof } from '@meshpass/identity/presence';
import type { HeartbeatRequest } from '@meshpass/identity/refusal-report';
import type {
  CertificateRequest,
  CertificateResponse,
  HeartbeatResponse,
  ServicesResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import type { ZodType } from 'zod';
import { BrokerAgent, type BrokerAgentOptions, brokerUrl } from './broker-agent.ts';
import {
  type BrokerAnswers,
  brokerAnswers,
  type OpenedSession,
  type ReceivedConfiguration,
  readAnswer,
} from './broker-answers.ts';
import { type Answer, parseJson, refusal, tooLong, unreachable } from './broker-refusal.ts';
import { type PresenceAnswer, withPresence } from './presence.ts';

export interface BrokerClientOptions extends BrokerAgentOptions {
  /** Public URL of the broker, https. */
  readonly url: string;
  readonly key: DpopKey;
  /** Connections to it; where absent, new ones. */
  readonly agent?: BrokerAgent;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly randomId: () => string;
  /** Milliseconds for a whole exchange. */
  readonly timeout?: number;
  /** Of the mesh: names of services must end in it. Default: `cluster.local`. */
  readonly clusterDomain?: string;
  /** Port of this workspace on which the broker's challenges are answered; any free one where absent. */
  readonly presencePort?: number;
  /** Told on which port a challenge is answered. */
  readonly onChallenge?: (port: number) => void;
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes; `MAX_ANSWER` where absent. */
  readonly largest?: number;
  /** Milliseconds by which the broker may be slower than with other calls, because it is asked to wait. */
  readonly patience?: number;
  readonly accessToken?: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  /** Told the DPoP proof before it is sent. */
  readonly onProof?: (dpop: string) => void;
}

/** Most that a call waits before its second try, ms. */
const LONGEST_WAIT = 2000;
const MAX_ANSWER = 1_048_576;
/** Of what names services: a session may have thousands, each with what it allows. */
const MAX_SERVICES = 16 * 1_048_576;
/** Of a configuration: as much as one may have, in base64. */
const MAX_CONFIGURATION = 24 * 1_048_576;
/** Longest that the broker is asked to wait for a session's first configuration, seconds. */
const LONGEST_CONFIGURATION_WAIT = 25;
/** Longest that the broker may ask to wait, seconds: more would overflow the timer, which then does not wait at all. */
const LONGEST_RETRY_AFTER = 300;
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';

export class BrokerClient {
  readonly #options: BrokerClientOptions;
  readonly #base: string;
  readonly #agent: BrokerAgent;
  readonly #read: BrokerAnswers;
  /** Milliseconds by which the broker's clock is ahead of ours. */
  #skew = 0;

  /** @throws MeshpassError config_invalid where the URL is not https */
  constructor(options: BrokerClientOptions) {
    this.#base = brokerUrl(options.url).href.replace(/\/+$/, '');
    this.#options = options;
    this.#read = brokerAnswers(options.clusterDomain ?? 'cluster.local');
    this.#agent = options.agent ?? new BrokerAgent(options);
  }

  /** Milliseconds since the epoch as the broker sees it. */
  get brokerNow(): number {
    return this.#options.now() + this.#skew;
  }

  /**
   * `POST /token` with a proof: opens a session, and shows the broker that we are in the Codespace where it wants to see it.
   * @param csrs PEM, for the session's first grants: what it begins with is then in the answer, as far as the broker has it
   */
  openSession(proof: Proof, csrs: readonly string[] = []): Promise<OpenedSession> {
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
    const exchange = (answer?: PresenceAnswer) =>
      this.call(
        {
          ...{ method: 'POST', path: '/token', largest: MAX_SERVICES },
          form: {
            ...{ grant_type: GRANT_TYPE, ...form },
            ...(answer && presenceParameters(answer)),
          },
          ...(answer?.onProof && { onProof: answer.onProof }),
        },
        this.#read.session,
      );
    if (proof.type === 'oidc') return exchange();
    const { key, presencePort: port = 0, onChallenge } = this.#options;
    return withPresence(exchange, {
      ...{ port, onChallenge },
      sign: ({ dpop, expires_in, ...challenge }) =>
        createPresenceProof({
          ...{ key, challenge, broker: this.#base, codespaceName: proof.codespaceName },
          expiresAt: Math.floor(this.brokerNow / 1000) + expires_in,
          ...(dpop !== undefined && { dpop }),
        }),
    });
  }

  /** `POST /certificates`: one CSR per grant. */
  certificates(accessToken: string, certificates: CertificateRequest['certificates']): Promise<CertificateResponse> {
    return this.call(
      { method: 'POST', path: '/certificates', accessToken, json: { certificates } },
      this.#read.certificates,
    );
  }

  /**
   * `POST /token` with the session token.
   * @param audience of an ID token for elsewhere; undefined: the identity token of the mesh
   */
  token(accessToken: string, audience?: string): Promise<TokenResponse> {
    const form = {
      grant_type: GRANT_TYPE,
      subject_token_type: SESSION_TOKEN_TYPE,
      subject_token: accessToken,
      requested_token_type: audience === undefined ? JWT_TYPE : ID_TOKEN_TYPE,
      ...(audience === undefined ? {} : { audience }),
    };
    return this.call({ method: 'POST', path: '/token', accessToken, form }, this.#read.token);
  }

  /** `POST /session/heartbeat`. @param report refusals that the broker has not been told of */
  heartbeat(accessToken: string, report?: HeartbeatRequest): Promise<HeartbeatResponse> {
    return this.call(
      { method: 'POST', path: '/session/heartbeat', accessToken, ...(report && { json: report }) },
      this.#read.heartbeat,
    );
  }

  services(accessToken: string): Promise<ServicesResponse> {
    return this.call({ method: 'GET', path: '/services', accessToken, largest: MAX_SERVICES }, this.#read.services);
  }

  /**
   * `GET /session/configuration`: waits for the first one (RFC 7240, `Prefer: wait`), which istiod may not have given yet.
   * @param known version that the agent has
   * @returns undefined where it is still that version
   */
  configuration(accessToken: string, known?: number): Promise<ReceivedConfiguration | undefined> {
    const headers: Record<string, string> = {
      prefer: `wait=${LONGEST_CONFIGURATION_WAIT}`,
      ...(known !== undefined && { 'if-none-match': `"${known}"` }),
    };
    return this.call(
      {
        ...{ method: 'GET', path: '/session/configuration', accessToken, headers },
        ...{ largest: MAX_CONFIGURATION, patience: LONGEST_CONFIGURATION_WAIT * 1000 },
      },
      (json) => (json === undefined ? undefined : this.#read.configuration(json)),
    );
  }

  /** Any other question of a session. @throws MeshpassError what the broker refuses with, agent_broker_answer_invalid */
  ask<T>(accessToken: string, call: Pick<Call, 'method' | 'path' | 'json'>, schema: ZodType<T>): Promise<T> {
    return this.call({ ...call, accessToken }, (json) => readAnswer(schema, json));
  }

  /** The same as a control channel brings it. @throws MeshpassError agent_broker_answer_invalid, agent_broker_unreachable */
  readConfiguration(content: Buffer): ReceivedConfiguration {
    return this.#read.configuration(parseJson(this.#base, content.toString('utf8')));
  }

  /** `DELETE /session`: the session and everything issued under it ends at once. */
  async goodbye(accessToken: string): Promise<void> {
    await this.call({ method: 'DELETE', path: '/session', accessToken }, () => undefined);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Any call. @param read takes the parsed body; undefined where there is none. @throws MeshpassError of the broker */
  async call<T>(call: Call, read: (json: unknown) => T): Promise<T> {
    let answer = await this.#exchange(call);
    // At the token endpoint a proof is refused with 400 (RFC 6749 section 5.2), elsewhere with 401.
    if (answer.status < 500 && answer.date !== undefined && /"dpop_expired"/.test(answer.body)) {
      // Our clock is wrong, and a Codespace that slept may well have such a one: take the broker's (RFC 9449 section 8).
      this.#skew = answer.date - this.#options.now();
      // A broker takes no proof that was made in the second in which it started: it says so by asking to wait.
      if (answer.retryAfter !== undefined) await sleep(Math.min(answer.retryAfter * 1000, LONGEST_WAIT));
      answer = await this.#exchange(call);
    }
    if ((answer.status >= 200 && answer.status < 300) || (answer.status === 304 && call.headers?.['if-none-match'])) {
      if (answer.body !== '' && !answer.isJson) throw unreachable(this.#base, 'its answer is not JSON', undefined);
      return read(answer.body === '' ? undefined : parseJson(this.#base, answer.body));
    }
    throw refusal(this.#base, answer);
  }

  #exchange(call: Call): Promise<Answer> {
    const { key, randomId, timeout = 10_000 } = this.#options;
    const url = this.#base + call.path;
    const dpop = createDpopProof({
      key,
      method: call.method,
      url,
      now: Math.floor(this.brokerNow / 1000),
      jti: randomId(),
      ...(call.accessToken === undefined ? {} : { accessToken: call.accessToken }),
    });
    call.onProof?.(dpop);
    const body = call.form
      ? new URLSearchParams(call.form).toString()
      : call.json === undefined
        ? undefined
        : JSON.stringify(call.json);
    const headers: Record<string, string | number> = { ...call.headers, accept: 'application/json', dpop };
    if (call.accessToken !== undefined) headers.authorization = `DPoP ${call.accessToken}`;
    headers['content-length'] = body === undefined ? 0 : Buffer.byteLength(body);
    if (body !== undefined) {
      headers['content-type'] = call.form ? 'application/x-www-form-urlencoded' : 'application/json';
    }
    return new Promise((resolve, reject) => {
      const fail = (cause: Error) => {
        clearTimeout(timer);
        this.#agent.avoid(outgoing.socket?.remoteAddress);
        outgoing.destroy();
        const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
        reject(cause instanceof MeshpassError ? cause : unreachable(this.#base, why, cause));
      };
      const largest = call.largest ?? MAX_ANSWER;
      const outgoing = request(url, { method: call.method, headers, agent: this.#agent }, (incoming) => {
        const { remoteAddress } = incoming.socket;
        const chunks: Buffer[] = [];
        let size = 0;
        incoming.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > largest) fail(tooLong(call.path, largest));
          else chunks.push(chunk);
        });
        incoming.on('error', fail);
        incoming.on('end', () => {
          clearTimeout(timer);
          const date = Date.parse(incoming.headers.date ?? '');
          const retryAfter = Number(incoming.headers['retry-after']);
          if (incoming.statusCode === 503) this.#agent.avoid(remoteAddress);
          resolve({
            status: incoming.statusCode ?? 0,
            isJson: /^application\/json(?:[ ;]|$)/i.test(incoming.headers['content-type'] ?? ''),
            body: Buffer.concat(chunks).toString('utf8'),
            date: Number.isNaN(date) ? undefined : date,
            retryAfter: retryAfter > 0 ? Math.min(retryAfter, LONGEST_RETRY_AFTER) : undefined,
          });
        });
      });
      const timer = setTimeout(() => fail(new Error('no answer in time')), timeout + (call.patience ?? 0));
      outgoing.on('error', fail);
      outgoing.end(body);
    });
  }
}

function presenceParameters({ nonce, port }: PresenceAnswer): Record<string, string> {
  if (nonce === undefined) return { presence_listener: String(port) };
  return { presence_nonce: nonce, presence_port: String(port) };
}

/** The DER within PEM. */
function base64url(pem: string): string {
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64').toString('base64url');
}
