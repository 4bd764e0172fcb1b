/** Istio's policies, `security.istio.io`. Source: the CustomResourceDefinitions of Istio 1.31. */
import type { Labels, SpecObject, Texts } from './object.ts';

export interface WorkloadSelector {
  readonly matchLabels?: Labels;
}

export interface TargetRef {
  readonly group?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
}

/** Scope of a policy. Without either member it is the whole namespace, or the mesh in the root namespace. */
export interface Attachment {
  readonly selector?: WorkloadSelector;
  readonly targetRef?: TargetRef;
  readonly targetRefs?: readonly TargetRef[];
}

export type AuthorizationAction = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';

export interface AuthorizationSource {
  readonly principals?: Texts;
  readonly notPrincipals?: Texts;
  readonly requestPrincipals?: Texts;
  readonly notRequestPrincipals?: Texts;
  readonly namespaces?: Texts;
  readonly notNamespaces?: Texts;
  readonly serviceAccounts?: Texts;
  readonly notServiceAccounts?: Texts;
  readonly trustDomains?: Texts;
  readonly notTrustDomains?: Texts;
  readonly ipBlocks?: Texts;
  readonly notIpBlocks?: Texts;
  readonly remoteIpBlocks?: Texts;
  readonly notRemoteIpBlocks?: Texts;
}

export interface AuthorizationOperation {
  readonly hosts?: Texts;
  readonly notHosts?: Texts;
  readonly ports?: Texts;
  readonly notPorts?: Texts;
  readonly methods?: Texts;
  readonly notMethods?: Texts;
  readonly paths?: Texts;
  readonly notPaths?: Texts;
}

export interface AuthorizationCondition {
  readonly key: string;
  readonly values?: Texts;
  readonly notValues?: Texts;
}

export interface AuthorizationRule {
  readonly from?: readonly { readonly source?: AuthorizationSource }[];
  readonly to?: readonly { readonly operation?: AuthorizationOperation }[];
  readonly when?: readonly AuthorizationCondition[];
}

interface AuthorizationPolicySpec extends Attachment {
  /** Defaults to ALLOW. */
  readonly action?: AuthorizationAction;
  readonly provider?: { readonly name?: string };
  readonly rules?: readonly AuthorizationRule[];
}

export interface JwtRule {
  readonly issuer?: string;
  readonly audiences?: Texts;
  readonly jwks?: string;
  readonly jwksUri?: string;
  /** Older spelling. */
  readonly jwks_uri?: string;
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[];
  readonly fromParams?: Texts;
  readonly fromCookies?: Texts;
  readonly forwardOriginalToken?: boolean;
  readonly outputPayloadToHeader?: string;
  readonly outputClaimToHeaders?: readonly { readonly header?: string; readonly claim?: string }[];
  readonly spaceDelimitedClaims?: Texts;
  readonly timeout?: string;
}

interface RequestAuthenticationSpec extends Attachment {
  readonly jwtRules?: readonly JwtRule[];
}

export type MutualTlsMode = 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT';

interface PeerAuthenticationSpec {
  readonly selector?: WorkloadSelector;
  readonly mtls?: { readonly mode?: MutualTlsMode };
  /** Modes by workload port number. */
  readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: MutualTlsMode }>>;
}

export type AuthorizationPolicy = SpecObject<'AuthorizationPolicy', AuthorizationPolicySpec>;

export type RequestAuthentication = SpecObject<'RequestAuthentication', RequestAuthenticationSpec>;

export type PeerAuthentication = SpecObject<'PeerAuthentication', PeerAuthenticationSpec>;
