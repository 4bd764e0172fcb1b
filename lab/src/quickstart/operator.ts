/** The platform team signs in as operators do that are no people: with the token of a Kubernetes ServiceAccount. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BROKER_URL } from '../broker/rights.ts';
import type { Lab } from '../lab.ts';
import { expectThat, type Scene } from './scene.ts';

/** On a machine that reaches the operator listener; no workspace does. */
export const OPERATOR_HOST = 'github';
const ACCOUNT = { namespace: 'meshpass-system', name: 'platform-team' };
const TOKEN_SECONDS = 3_600;
const LAB_ACCESS = fileURLToPath(new URL('../access.yaml', import.meta.url));

/** Writes the lab's access file with an operator. @returns its path */
export function accessWithOperator(lab: Lab): string {
  const path = join(lab.dir, 'quickstart-access.yaml');
  const { namespace, name } = ACCOUNT;
  const operators = `operators:\n  serviceAccounts: [{serviceAccount: ${namespace}/${name}, roles: [operator]}]\n`;
  writeFileSync(path, readFileSync(LAB_ACCESS, 'utf8') + operators);
  return path;
}

/** @returns the environment in which `meshpass` acts as this operator */
export async function signIn({ lab, meshpass, story }: Scene): Promise<Readonly<Record<string, string>>> {
  const { namespace, name } = ACCOUNT;
  await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } });
  const token = join(lab.dir, 'platform-team.token');
  const text = await lab.kubernetes.serviceAccountToken(namespace, name, [BROKER_URL], TOKEN_SECONDS);
  writeFileSync(token, text, { mode: 0o600 });
  const env = { MESHPASS_OPERATOR: meshpass.operatorUrl, MESHPASS_STATE_DIR: join(lab.dir, 'operator-state') };
  story.command('meshpass login --service-account-token platform-team.token');
  const argv = ['meshpass', 'login', '--service-account-token', token];
  const { code, stdout, stderr } = await lab.exec(OPERATOR_HOST, argv, { env });
  expectThat(code === 0, `the operator cannot sign in: ${stderr}`);
  story.done(stdout.trim());
  return env;
}
