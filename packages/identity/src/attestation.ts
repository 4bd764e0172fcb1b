/**
 * Types that describe a verified proof. They only contain facts that the broker has verified, and nothing that a client
 * merely claims.
 */

/** The subject token types (RFC 8693 section 3) that the broker accepts, including a custom type for Codespaces. */
export const PROOF_TYPES = {
  /** An OIDC ID token from one of the allowed issuers. */
  oidc: 'urn:ietf:params:oauth:token-type:id_token',
  /** The GITHUB_TOKEN of a Codespace, sent together with the parameter `codespace_name`. */
  codespace: 'urn:meshpass:token-type:github-codespace',
} as const;

/**
 * The subject token type of a session token. While the session is live, its token can be exchanged for identity tokens
 * and ID tokens.
 */
export const SESSION_TOKEN_TYPE = 'urn:meshpass:token-type:session';
/** The token type of an operator session. */
export const OPERATOR_SESSION_TYPE = 'urn:meshpass:token-type:operator-session';
/** Token types that are defined in RFC 8693 section 3. */
export const ID_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:id_token';
export const JWT_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:jwt';

export type Proof =
  | { readonly type: 'oidc'; readonly token: string }
  | {
      readonly type: 'github-codespace';
      readonly token: string;
      readonly codespaceName: string;
      /** An ID token from a sign-in, which is sent along with the proof. */
      readonly signIn?: { readonly issuer: string; readonly token: string };
    };

/** The workspace of a session. It is identified by GitHub ids. Names are only displayed, and may change. */
export interface Workspace {
  readonly kind: 'codespace' | 'actions' | 'other';
  /**
   * A stable key, such as `codespace:8412` or `actions:REPOSITORY_ID:RUN_ID:RUN_ATTEMPT`. There is at most one live
   * session for each key.
   */
  readonly key: string;
  readonly name: string;
  readonly repository?: { readonly id: number; readonly fullName: string; readonly ownerId: number };
  readonly ref?: string;
}

/** A person's sign-in at an issuer in the access file, as read from the ID token. All times are in Unix seconds. */
export interface SignIn {
  /** The issuer name in `trust.issuers`. */
  readonly issuer: string;
  /** The stable subject, in the same format as `Attestation.subject`. */
  readonly subject: string;
  /** The name to display. It is never used for decisions. */
  readonly login: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** When the person authenticated (`auth_time`), if the issuer reports it. */
  readonly authTime?: number;
  /** The authentication methods (RFC 8176). Empty if the issuer does not list any. */
  readonly amr: readonly string[];
  /** The session id (`sid`) at the issuer (OpenID Connect Back-Channel Logout 1.0). */
  readonly sid?: string;
  /** When the session received the sign-in. */
  readonly since: number;
  /** The `iat` claim of the newest ID token. */
  readonly confirmedAt: number;
  /** When the sign-in expires, unless a newer ID token confirms it. */
  readonly until: number;
  /** The maximum time between two ID tokens, in seconds. If absent, the sign-in ends when its ID token expires. */
  readonly confirm?: number;
  /** Whether a broker that took over has already extended the sign-in. This is only done once. */
  readonly graced?: true;
}

/** A sign-in of this session that was ended by the provider. A token from the same authentication cannot restore it. */
export interface EndedSignIn extends Pick<SignIn, 'issuer' | 'subject' | 'sid'> {
  /** The `iat` claim of the logout token, in Unix seconds. */
  readonly signedOutAt: number;
}

export interface Attestation {
  readonly attestor: 'github-codespace' | 'oidc';
  /** The issuer name in the access file (a key of `trust.issuers`), or `github` for Codespaces. */
  readonly issuer: string;
  /**
   * The stable subject within the issuer, such as `github:583231`. It never contains `/`, because Istio splits request
   * principals at that character.
   */
  readonly subject: string;
  /** A short name for display and for the ServiceAccount: the GitHub login or the local part of the email address. */
  readonly login: string;
  /** The GitHub user. Absent if the subject is not a GitHub user. */
  readonly githubUser?: { readonly id: number; readonly login: string };
  /**
   * The teams that GitHub was asked about and confirmed the user as a member of. They are written as `ORG/SLUG` in
   * lower case, or as `ORG/#ID` if the access file refers to the team by its id.
   */
  readonly teams: readonly string[];
  /** Existing teams that do not include the user according to GitHub, in the same format. */
  readonly notInTeams?: readonly string[];
  /** The organization roles that GitHub was asked about and confirmed, as `ORG/admin` or `ORG/member` in lower case. */
  readonly organizationRoles?: readonly string[];
  /**
   * The verified claims from the proof (OIDC) or from GitHub's responses. CEL expressions can access them as `claims`.
   */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly workspace: Workspace;
  /** The sign-ins that the session has in addition to its proof, at most one for each issuer. */
  readonly signIns?: readonly SignIn[];
  /** The latest sign-in at each issuer that was ended by the provider. */
  readonly endedSignIns?: readonly EndedSignIn[];
  /** Whether the proof itself was a sign-in. If so, the session ends when that sign-in ends. */
  readonly provenBySignIn?: true;
  /** The SHA-256 digest of the proof in hexadecimal. The proof itself is never stored. */
  readonly proofHash: string;
  /** When the proof itself expires, in Unix seconds. Absent if it does not expire. */
  readonly proofExpiresAt?: number;
}
