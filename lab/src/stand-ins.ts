/** GitHub, the company's IdP and the issuer of GitHub Actions, as tests and the quickstart move them. All three are ours. */
import { readFileSync } from 'node:fs';
import { type GithubAdmin, githubAdmin } from './github/admin-client.ts';
import type { Lab } from './lab.ts';
import { type ActionsAdmin, actionsAdmin, type IdpAdmin, idpAdmin } from './oidc/admin-client.ts';

export interface StandIns {
  readonly github: GithubAdmin;
  readonly idp: IdpAdmin;
  readonly actions: ActionsAdmin;
}

export const GITHUB_URL = 'https://api.github.test';
export const IDP_ISSUER = 'https://idp.test:8443';
export const ACTIONS_ISSUER = 'https://token.actions.test:9443';

/** @param lab or a cluster of the lab, which also runs them */
export function standIns(lab: Pick<Lab, 'hosts' | 'testCa'>): StandIns {
  const ca = readFileSync(lab.testCa, 'utf8');
  const at = (port: number) => ({ ca, connect: `${lab.hosts.github!.ip}:${port}` });
  return {
    github: githubAdmin(GITHUB_URL, at(443)),
    idp: idpAdmin(IDP_ISSUER, at(8443)),
    actions: actionsAdmin(ACTIONS_ISSUER, at(9443)),
  };
}
