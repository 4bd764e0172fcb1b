/** Whose ID tokens are believed, and as which client people sign in there. */

/** Exactly one issuer of OIDC proofs. */
export interface TrustedIssuer {
  readonly name: string;
  /** Compared as a string, exactly. */
  readonly issuer: string;
  /** The `aud` that proofs must carry. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /** `actions` maps GitHub Actions' claims to ids; `generic` takes `sub`. */
  readonly kind: 'generic' | 'actions';
  /** The client with which people sign in there. */
  readonly signIn?: SignInClient;
}

/** A public OAuth client, without a secret. */
export interface SignInClient {
  /** `client_id`, and the only `aud` of its ID tokens. */
  readonly client: string;
  /** Beside `openid`. */
  readonly scopes: readonly string[];
  /** Whether a refresh token is asked for. */
  readonly refresh: boolean;
  /** Whether an operator's browser asks for it with `prompt=consent` (OpenID Connect Core section 11); absent: it does. */
  readonly consent?: boolean | undefined;
  /** The issuer says in `iat` that it gave an ID token so much before it did, seconds; absent: it does not. */
  readonly backdated?: number | undefined;
  /** A sign-in that is not confirmed by a fresh ID token for so long ends, seconds. Where `refresh` is false: not used. */
  readonly confirm: number;
  /** Whether an ID token may come without the nonce that binds it to the key of a session. */
  readonly nonce: 'required' | 'optional';
}
