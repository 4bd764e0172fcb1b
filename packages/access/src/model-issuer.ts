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
  /** The clients with which people sign in there. */
  readonly signIn?: SignInClient;
}

/** A public OAuth client, without a secret, and where operators have one of their own, two that are used alike. */
export interface SignInClient {
  /** `client_id`, and the only `aud` of its ID tokens. */
  readonly client: string;
  /** The same of operators, so that their ID tokens are of no use elsewhere; absent: they sign in with `client`, too. */
  readonly operatorClient?: string | undefined;
  /** Whether a person has one `sub` at both clients (OpenID Connect Core section 8); absent: nobody knows. */
  readonly subjectType?: 'public' | 'pairwise' | undefined;
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
