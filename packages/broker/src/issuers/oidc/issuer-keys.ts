/** Keys of configured issuers: OpenID discovery, then a JWKS that jose caches and refreshes, with a cool-down. */
import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { type IssuerHttpOptions, issuerUnavailableError, requestIssuer } from '../issuer-http.ts';
import { createTtlCache } from '../ttl-cache.ts';

export interface IssuerKeysOptions extends IssuerHttpOptions {
  /** Unix milliseconds. */
  readonly clock: () => number;
  /** Maximum age of cached keys, milliseconds. A key that the issuer withdraws is trusted no longer than this. */
  readonly keysLifeMs?: number;
  /**
   * Minimum milliseconds between key fetches for an unknown `kid`, so that clients cannot flood the issuer through the
   * broker.
   */
  readonly coolDownMs?: number;
}

export type IssuerKeys = ReturnType<typeof createIssuerKeys>;

const KEYS_LIFE_MS = 5 * 60_000;
const COOL_DOWN_MS = 10_000;
/** How long an issuer gets no requests after a failure. */
const FAILURE_MS = 1_000;
/** `jwks_uri` rarely changes. */
const DISCOVERY_MS = 6 * 3_600_000;
const CAPACITY = 200;

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url() });

/** Creates the key store; it fetches an issuer's keys on first use. */
export function createIssuerKeys(options: IssuerKeysOptions) {
  const { clock } = options;
  const discovered = createTtlCache<JWTVerifyGetKey>(() => DISCOVERY_MS, CAPACITY, clock);
  const failures = new Map<string, { readonly until: number; readonly error: unknown }>();

  /** Sends a request to an issuer, unless the previous one has just failed. */
  const guarded = async <T>(issuer: string, question: () => Promise<T>): Promise<T> => {
    const failure = failures.get(issuer);
    if (failure && failure.until > clock()) throw failure.error;
    try {
      const answer = await question();
      failures.delete(issuer);
      return answer;
    } catch (error) {
      failures.set(issuer, { until: clock() + FAILURE_MS, error });
      throw error;
    }
  };

  return {
    /**
     * Returns the key lookup for an issuer.
     * @param issuer exactly as configured, never from a token
     * @throws MeshpassError `issuer_unavailable`
     */
    keysOf: (issuer: string) =>
      discovered.get(issuer, async () => {
        const uri = await guarded(issuer, () => discover(issuer, options));
        return createRemoteJWKSet(uri, {
          cacheMaxAge: options.keysLifeMs ?? KEYS_LIFE_MS,
          cooldownDuration: options.coolDownMs ?? COOL_DOWN_MS,
          timeoutDuration: options.timeoutMs,
          [customFetch]: (url) => guarded(issuer, () => fetchKeys(issuer, new URL(url), options)),
        });
      }),
  };
}

/** OpenID Connect Discovery 1.0, section 4. */
async function discover(issuer: string, options: IssuerHttpOptions): Promise<URL> {
  const base = issuer.endsWith('/') ? issuer.slice(0, -1) : issuer;
  const answer = await requestIssuer(new URL(`${base}/.well-known/openid-configuration`), {}, issuer, options);
  if (answer.status !== 200) throw issuerUnavailableError(issuer, 'no discovery document', { status: answer.status });
  const read = Discovery.safeParse(answer.body);
  if (!read.success) throw issuerUnavailableError(issuer, 'unexpected discovery document');
  // Section 4.3 requires the two to be identical. Otherwise the document belongs to another issuer.
  if (read.data.issuer !== issuer)
    throw issuerUnavailableError(issuer, 'the discovery document belongs to a different issuer');
  return new URL(read.data.jwks_uri);
}

async function fetchKeys(issuer: string, url: URL, options: IssuerHttpOptions): Promise<Response> {
  const answer = await requestIssuer(url, {}, issuer, options);
  const keys = (answer.body as { keys?: unknown } | undefined)?.keys;
  if (answer.status !== 200 || !Array.isArray(keys)) {
    throw issuerUnavailableError(issuer, 'no keys', { status: answer.status });
  }
  return Response.json({ keys });
}
