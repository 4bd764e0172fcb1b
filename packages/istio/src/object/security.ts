/** The security policies of Istio, `security.istio.io`. */
import type { CustomObject, Item, SpecOf } from './custom.ts';
import type { SpecObject } from './object.ts';

type PolicySpec = SpecOf<'AuthorizationPolicy'>;

/**
 * The scope of a policy. If all fields are absent, it is the whole namespace or, for a policy in the root namespace,
 * the whole mesh.
 */
export type Attachment = Pick<PolicySpec, 'selector' | 'targetRef' | 'targetRefs'>;
export type WorkloadSelector = NonNullable<Attachment['selector']>;
export type TargetRef = NonNullable<Attachment['targetRef']>;

export type AuthorizationAction = NonNullable<PolicySpec['action']>;
type AnyRule = Item<PolicySpec['rules']>;
export type AuthorizationSource = NonNullable<Item<AnyRule['from']>['source']>;
export type AuthorizationOperation = NonNullable<Item<AnyRule['to']>['operation']>;
export type AuthorizationCondition = Item<AnyRule['when']> & { readonly key: string };
export type AuthorizationRule = Omit<AnyRule, 'when'> & { readonly when?: readonly AuthorizationCondition[] };
/** An AuthorizationPolicy. Its action defaults to ALLOW. */
export type AuthorizationPolicy = SpecObject<
  'AuthorizationPolicy',
  Omit<PolicySpec, 'rules'> & { readonly rules?: readonly AuthorizationRule[] }
>;

type TokenSpec = SpecOf<'RequestAuthentication'>;
type AnyJwtRule = Item<TokenSpec['jwtRules']>;
type HeaderPlace = Item<AnyJwtRule['fromHeaders']> & { readonly name: string };
export type JwtRule = Omit<AnyJwtRule, 'fromHeaders'> & { readonly fromHeaders?: readonly HeaderPlace[] };
export type RequestAuthentication = SpecObject<
  'RequestAuthentication',
  Omit<TokenSpec, 'jwtRules'> & { readonly jwtRules?: readonly JwtRule[] }
>;

export type PeerAuthentication = CustomObject<'PeerAuthentication'>;
export type MutualTlsMode = NonNullable<NonNullable<PeerAuthentication['spec']['mtls']>['mode']>;
