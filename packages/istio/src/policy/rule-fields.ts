/** The source fields of rules in AuthorizationPolicies, each with the equivalent condition key (`when`). */
export const SOURCE_FIELDS = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['requestPrincipals', 'notRequestPrincipals', 'request.auth.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['remoteIpBlocks', 'notRemoteIpBlocks', 'remote.ip'],
] as const;
