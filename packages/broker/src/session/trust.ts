/** Whether an access file still trusts who vouched for a session. Deciding its grants asks the same of new sessions only by name. */

import type { Trust } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';

/** @returns what is not trusted any more, in words; undefined where all of it is */
export function trustLost(attestation: Attestation, trust: Trust): string | undefined {
  return attestation.attestor === 'github-codespace'
    ? codespaceTrustLost(attestation, trust)
    : issuerTrustLost(attestation, trust);
}

function codespaceTrustLost({ claims }: Attestation, { codespaces }: Trust): string | undefined {
  if (!codespaces) return 'The access file no longer trusts Codespaces.';
  const organization = codespaces.organization.toLowerCase();
  // Attesting required that one of the two is the organisation; by login here, because the file says a login.
  const accounts = [claims.billable_owner, claims.repository_owner];
  return accounts.some((account) => typeof account === 'string' && account.toLowerCase() === organization)
    ? undefined
    : `The access file now trusts Codespaces of ${codespaces.organization}, and this is not one.`;
}

/** The name alone is not enough: another issuer may have come under it. */
function issuerTrustLost({ issuer: name, claims }: Attestation, { issuers }: Trust): string | undefined {
  const trusted = issuers.find((one) => one.name === name);
  if (!trusted) return `The access file no longer trusts the issuer ${name}.`;
  return claims.iss === trusted.issuer ? undefined : `The access file now has another issuer under the name ${name}.`;
}
