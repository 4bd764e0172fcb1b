/** Fetches the keys of configured issuers using OpenID Connect discovery. jose caches and refreshes each JWKS. */
import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { type IssuerHttpOptions, issuerUnavailableError, requestIssuer } from '../issuer-http.ts';
import { createTtlCache } from '../ttl-cache.ts';

export interface IssuerKeysOptions extends IssuerHttpOptions {
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
  /**
   * The minimum time between two fetches that are caused by an unknown `kid`, in milliseconds. It prevents clients from
   * using the broker to flood the issuer with requests.
   */
  readonly coolDownMs?: number;
}

export type IssuerKeys = ReturnType<typeof createIssuerKeys>;

/**
 * The maximum age of cached keys, in milliseconds. A key that the issuer has withdrawn may still be trusted for this
 * long.
 */
const KEYS_LIFE_MS = 5 * 60_000;
const COOL_DOWN_MS = 10_000;
/** How long the broker waits after a failed request before it contacts the same issuer again. */
const FAILURE_MS = 1_000;
/** How long a discovery document is cached. The `jwks_uri` in it rarely changes. */
const DISCOVERY_MS = 6 * 3_600_000;
const CAPACITY = 200;

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url() });

/** Creates a key source that fetches an issuer's keys when they are first needed. */
export function createIssuerKeys(options: IssuerKeysOptions) {
  const { clock } = options;
  const discovered = createTtlCache<JWTVerifyGetKey>(() => DISCOVERY_MS, CAPACITY, clock);
  const failures = new Map<string, { readonly until: number; readonly error: unknown }>();

  /** Sends a request to an issuer, unless the previous request to it has just failed. */
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
     * Returns the key lookup function for an issuer.
     * @param issuer the issuer's URL, exactly as configured. Never pass a value that comes from a token.
     * @throws MeshpassError `issuer_unavailable`
     */
    keysOf: (issuer: string) =>
      discovered.get(issuer, async () => {
        const uri = await guarded(issuer, () => discover(issuer, options));
        return createRemoteJWKSet(uri, {
          cacheMaxAge: KEYS_LIFE_MS,
          cooldownDuration: options.coolDownMs ?? COOL_DOWN_MS,
          timeoutDuration: options.timeoutMs,
          [customFetch]: (url) => guarded(issuer, () => fetchKeys(issuer, new URL(url), options)),
        });
      }),
  };
}

/** Looks up the issuer's `jwks_uri` in its discovery document (OpenID Connect Discovery 1.0, section 4). */
async function discover(issuer: string, options: IssuerHttpOptions): Promise<URL> {
  const base = issuer.endsWith('/') ? issuer.slice(0, -1) : issuer;
  const answer = await requestIssuer(new URL(`${base}/.well-known/openid-configuration`), {}, issuer, options);
  if (answer.status !== 200) throw issuerUnavailableError(issuer, 'no discovery document', { status: answer.status });
  const read = Discovery.safeParse(answer.body);
  if (!read.success) throw issuerUnavailableError(issuer, 'unexpected discovery document');
  // Section 4.3 requires both URLs to be identical. If they differ, the document belongs to a different issuer.
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
