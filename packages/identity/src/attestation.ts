/** What a proof becomes once its issuer has been asked: what we know, and nothing that we merely were told. */

/** RFC 8693 section 3 token types that the broker takes as a subject token, and our own one for Codespaces. */
export const PROOF_TYPES = {
  /** An OIDC ID token of an allowed issuer. */
  oidc: 'urn:ietf:params:oauth:token-type:id_token',
  /** A Codespace's GITHUB_TOKEN, beside the parameter `codespace_name`. */
  codespace: 'urn:meshpass:token-type:github-codespace',
} as const;

/** The subject token type of a live session's own token, exchanged for identity and ID tokens. */
export const SESSION_TOKEN_TYPE = 'urn:meshpass:token-type:session';
/** The token type of a session of an operator. */
export const OPERATOR_SESSION_TYPE = 'urn:meshpass:token-type:operator-session';
/** RFC 8693 section 3. */
export const ID_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:id_token';
export const JWT_TYPE = 'urn:ietf:params:oauth:token-type:jwt';

export type Proof =
  | { readonly type: 'oidc'; readonly token: string }
  | {
      readonly type: 'github-codespace';
      readonly token: string;
      readonly codespaceName: string;
      /** A sign-in beside it. */
      readonly signIn?: { readonly issuer: string; readonly token: string };
    };

/** GitHub ids are the key of everything; names are for people and may change. */
export interface Workspace {
  readonly kind: 'codespace' | 'actions' | 'other';
  /** Stable key, e.g. `codespace:8412`, `actions:REPOSITORY_ID:RUN_ID:RUN_ATTEMPT`. One live session each. */
  readonly key: string;
  readonly name: string;
  readonly repository?: { readonly id: number; readonly fullName: string; readonly ownerId: number };
  readonly ref?: string;
}

/** A person's sign-in at an issuer of the access file, as its ID token tells it. Times are Unix seconds. */
export interface SignIn {
  /** Name in `trust.issuers`. */
  readonly issuer: string;
  /** Stable subject, as in Attestation. */
  readonly subject: string;
  /** For people to read: never decided on. */
  readonly login: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** When the person was authenticated (`auth_time`), where the issuer says so. */
  readonly authTime?: number;
  /** Methods of authentication (RFC 8176); empty where the issuer names none. */
  readonly amr: readonly string[];
  /** `sid` of the issuer's own session (OpenID Connect Back-Channel Logout 1.0). */
  readonly sid?: string;
  /** When the session got it. */
  readonly since: number;
  /** `iat` of its newest ID token. */
  readonly confirmedAt: number;
  /** It counts until then, unless a newer ID token confirms it. */
  readonly until: number;
  /** Within how many seconds each ID token must be followed by the next; absent: it counts as long as its ID token. */
  readonly confirm?: number;
  /** A broker that took over has once given it time to be confirmed. */
  readonly graced?: true;
}

/** The provider has reported the end of a sign-in that this session had: what rests on the same authentication does not bring it back. */
export interface EndedSignIn extends Pick<SignIn, 'issuer' | 'subject' | 'sid'> {
  /** `iat` of the logout token, Unix seconds. */
  readonly signedOutAt: number;
}

export interface Attestation {
  readonly attestor: 'github-codespace' | 'oidc';
  /** Name of the issuer in the access file (`trust.issuers` key), or `github` for Codespaces. */
  readonly issuer: string;
  /** Stable subject within the issuer, without `/` (Istio splits request principals at it), e.g. `github:583231`. */
  readonly subject: string;
  /** Short name for people and for the ServiceAccount: GitHub login, e-mail local part. */
  readonly login: string;
  /** Set when the subject is a GitHub user. */
  readonly githubUser?: { readonly id: number; readonly login: string };
  /**
   * `ORG/SLUG` in lower case, or `ORG/#ID` where the access file has the team's id; only teams that were asked for and confirmed by
   * GitHub.
   */
  readonly teams: readonly string[];
  /** Teams, in the same form, of which GitHub said that they are there and that the user is not in them. */
  readonly notInTeams?: readonly string[];
  /** `ORG/admin` and `ORG/member` in lower case, only roles that were asked for and confirmed by GitHub. */
  readonly organizationRoles?: readonly string[];
  /** Verified claims of the proof (OIDC) or of GitHub's answers; what CEL sees as `claims`. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly workspace: Workspace;
  /** Sign-ins of the session beside its proof, one for each issuer. */
  readonly signIns?: readonly SignIn[];
  /** Those that the provider has ended, the last ones of each issuer. */
  readonly endedSignIns?: readonly EndedSignIn[];
  /** The proof was itself such a sign-in: the session ends with it. */
  readonly provenBySignIn?: true;
  /** SHA-256 of the proof, hex: the most of it that is ever stored. */
  readonly proofHash: string;
  /** Unix seconds after which the proof itself is dead, when it says so. */
  readonly proofExpiresAt?: number;
}
