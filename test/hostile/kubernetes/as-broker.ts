/** Calls the lab's API server as an attacker with the token of the broker's ServiceAccount. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '@meshpass/lab';
import type { LabError } from '@meshpass/lab/error';
import { connectKubernetes, type Kubernetes } from '@meshpass/lab/kubernetes';
import type { Outcome } from '../area.ts';
import type { Request } from './requests.ts';

export interface AsBroker {
  ask(request: Request): Promise<Outcome>;
  /** Removes the token from disk. */
  forget(): void;
}

const TOKEN_SECONDS = 7_200;

export async function asBroker(lab: Lab): Promise<AsBroker> {
  const token = await lab.kubernetes.serviceAccountToken('meshpass-system', 'meshpass-broker', [], TOKEN_SECONDS);
  const tokenFile = join(lab.dir, 'hostile-broker.token');
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const broker = connectKubernetes(lab.kubernetes.url, tokenFile, lab.testCa);
  return {
    ask: (request) => answered(broker, request),
    forget: () => rmSync(tokenFile, { force: true }),
  };
}

async function answered(broker: Kubernetes, request: Request): Promise<Outcome> {
  const { method, path, body, contentType, dryRun, manager = 'meshpass' } = request;
  const query = new URLSearchParams({
    ...(method !== 'GET' && dryRun && { dryRun: 'All' }),
    ...(method !== 'GET' && method !== 'DELETE' && { fieldManager: manager }),
    ...(contentType?.includes('apply-patch') && { force: 'true' }),
  });
  return broker.call(method, `${path}?${query}`, body, contentType).then(
    () => ({ accepted: true, answer: '2xx' }),
    (error: LabError) => ({ accepted: false, answer: error.message }),
  );
}
