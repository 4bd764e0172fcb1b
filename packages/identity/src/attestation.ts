/** Types of a verified proof. They only contain what the broker has verified, never what a client claimed. */

/** Subject token types (RFC 8693 section 3) that the broker accepts, including our own type for Codespaces. */
export const PROOF_TYPES = {
  /** OIDC ID token of an allowed issuer. */
  oidc: 'urn:ietf:params:oauth:token-type:id_token',
  /** A Codespace's GITHUB_TOKEN, sent with the parameter `codespace_name`. */
  codespace: 'urn:meshpass:token-type:github-codespace',
} as const;

/** Subject token type of a live session's own token, which can be exchanged for identity and ID tokens. */
export const SESSION_TOKEN_TYPE = 'urn:meshpass:token-type:session';
/** Token type of an operator session. */
export const OPERATOR_SESSION_TYPE = 'urn:meshpass:token-type:operator-session';
/** Token types of RFC 8693 section 3. */
export const ID_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:id_token';
export const JWT_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:jwt';

export type Proof =
  | { readonly type: 'oidc'; readonly token: string }
  | {
      readonly type: 'github-codespace';
      readonly token: string;
      readonly codespaceName: string;
      /** ID token of a sign-in that accompanies the proof. */
      readonly signIn?: { readonly issuer: string; readonly token: string };
    };

/** A session's workspace. GitHub ids are the keys. Names are for display and may change. */
export interface Workspace {
  readonly kind: 'codespace' | 'actions' | 'other';
  /**
   * Stable key, e.g. `codespace:8412`, `actions:REPOSITORY_ID:RUN_ID:RUN_ATTEMPT`. Each key has at most one live
   * session.
   */
  readonly key: string;
  readonly name: string;
  readonly repository?: { readonly id: number; readonly fullName: string; readonly ownerId: number };
  readonly ref?: string;
}

/** A person's sign-in at an issuer of the access file, read from its ID token. Times are Unix seconds. */
export interface SignIn {
  /** Issuer name in `trust.issuers`. */
  readonly issuer: string;
  /** Stable subject, in the form of `Attestation.subject`. */
  readonly subject: string;
  /** Display name, never used for decisions. */
  readonly login: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** When the person authenticated (`auth_time`), if the issuer reports it. */
  readonly authTime?: number;
  /** Authentication methods (RFC 8176); empty if the issuer lists none. */
  readonly amr: readonly string[];
  /** `sid` of the issuer's own session (OpenID Connect Back-Channel Logout 1.0). */
  readonly sid?: string;
  /** Time when the session received the sign-in. */
  readonly since: number;
  /** `iat` of its newest ID token. */
  readonly confirmedAt: number;
  /** When the sign-in expires, unless a newer ID token confirms it. */
  readonly until: number;
  /** Maximum seconds between two ID tokens. If absent, the sign-in ends when its ID token expires. */
  readonly confirm?: number;
  /** Whether a broker has already extended the sign-in once after it took over. */
  readonly graced?: true;
}

/** A sign-in of this session that the provider has ended. A token from the same authentication does not restore it. */
export interface EndedSignIn extends Pick<SignIn, 'issuer' | 'subject' | 'sid'> {
  /** `iat` of the logout token, Unix seconds. */
  readonly signedOutAt: number;
}

export interface Attestation {
  readonly attestor: 'github-codespace' | 'oidc';
  /** Issuer name in the access file (`trust.issuers` key), or `github` for Codespaces. */
  readonly issuer: string;
  /**
   * Stable subject within the issuer, e.g. `github:583231`. Contains no `/`, because Istio splits request principals
   * there.
   */
  readonly subject: string;
  /** Short name for display and for the ServiceAccount: GitHub login or e-mail local part. */
  readonly login: string;
  /** Present if the subject is a GitHub user. */
  readonly githubUser?: { readonly id: number; readonly login: string };
  /**
   * `ORG/SLUG` in lower case, or `ORG/#ID` if the access file refers to the team by id. Contains only teams that were
   * queried and that GitHub confirmed.
   */
  readonly teams: readonly string[];
  /** Teams, in the same form, that exist but, according to GitHub, do not include the user. */
  readonly notInTeams?: readonly string[];
  /** `ORG/admin` and `ORG/member` in lower case. Contains only roles that were queried and that GitHub confirmed. */
  readonly organizationRoles?: readonly string[];
  /** Verified claims from the proof (OIDC) or from GitHub's responses. The `claims` variable of CEL expressions. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly workspace: Workspace;
  /** The session's sign-ins in addition to its proof, one per issuer. */
  readonly signIns?: readonly SignIn[];
  /** Sign-ins that the provider has ended, the latest of each issuer. */
  readonly endedSignIns?: readonly EndedSignIn[];
  /** Whether the proof was itself such a sign-in, so that the session ends with it. */
  readonly provenBySignIn?: true;
  /** SHA-256 of the proof, hex. The proof itself is never stored. */
  readonly proofHash: string;
  /** When the proof itself expires, Unix seconds, if it does. */
  readonly proofExpiresAt?: number;
}
