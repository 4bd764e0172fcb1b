/** Caller: a person, a workflow, an installation of the App, the App itself, or an anonymous client. */
import type { KeyObject } from 'node:crypto';
import { errors, jwtVerify } from 'jose';
import { badCredentials, refusal } from './refusal.ts';
import type { State, Token } from './state.ts';

export type Caller =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'app' }
  | ({ readonly kind: Token['kind'] } & Omit<Token, 'kind'>);

/** GitHub takes at most ten minutes between now and `exp` of an App's JWT, and a minute of clock drift. */
const APP_JWT_MAX_SECONDS = 600;
const CLOCK_DRIFT_SECONDS = 60;

/**
 * @param authorization the header, `Bearer TOKEN` or `token TOKEN`
 * @param appKey public key of the App, that its JWTs are really verified with (RS256)
 * @param now Unix milliseconds
 * @throws 401 in GitHub's form
 */
export async function identifyCaller(
  authorization: string | undefined,
  state: State,
  appKey: KeyObject,
  now: number,
): Promise<Caller> {
  if (!authorization) return { kind: 'nobody' };
  const match = /^(?:bearer|token) +([\x21-\x7e]{1,4096})$/i.exec(authorization);
  if (!match) throw badCredentials();
  const text = match[1]!;
  if (text.startsWith('eyJ')) return verifyApp(text, state, appKey, now);
  const token = Object.hasOwn(state.tokens, text) ? state.tokens[text] : undefined;
  if (!token || token.expiresAt <= now) throw badCredentials();
  return token;
}

async function verifyApp(jwt: string, state: State, appKey: KeyObject, now: number): Promise<Caller> {
  try {
    const { payload } = await jwtVerify(jwt, appKey, {
      algorithms: ['RS256'],
      currentDate: new Date(now),
      clockTolerance: CLOCK_DRIFT_SECONDS,
      requiredClaims: ['iss', 'iat', 'exp'],
    });
    const issuers = [String(state.app.id), state.app.clientId];
    if (!issuers.includes(String(payload.iss))) throw refusal(404, 'Integration not found');
    if (payload.exp! - now / 1000 > APP_JWT_MAX_SECONDS + CLOCK_DRIFT_SECONDS) {
      throw refusal(401, "'Expiration time' claim ('exp') is too far in the future");
    }
    if (payload.iat! > now / 1000 + CLOCK_DRIFT_SECONDS) {
      throw refusal(
        401,
        "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
      );
    }
    return { kind: 'app' };
  } catch (error) {
    if (error instanceof errors.JOSEError) throw refusal(401, 'A JSON web token could not be decoded');
    throw error;
  }
}

/** Call budget per person, installation or App (GitHub counts by these, not by token). */
export function budgetKey(caller: Caller, address: string): string {
  if (caller.kind === 'nobody') return `address:${address}`;
  if (caller.kind === 'app') return 'app';
  return caller.installationId ? `installation:${caller.installationId}` : `user:${caller.userId ?? 'actions'}`;
}
