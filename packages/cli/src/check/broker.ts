/** Checks the readiness report of the broker. */
import { MeshpassError, pageUrl } from '@meshpass/identity';
import { z } from 'zod';
import { ask } from '../broker/request.ts';
import { type Finding, type Findings, failed, misconfigured, ok, warning } from '../diagnosis/finding.ts';

/**
 * The fields of the readiness report that the check uses. They are validated because any server could be listening at
 * this address.
 */
const Readiness = z.object({
  status: z.string().optional(),
  reasons: z.array(z.string()).default([]),
  warnings: z.array(z.string()).default([]),
  /** Older brokers, in which break-glass could not be turned off, do not report this field. */
  break_glass: z.boolean().optional(),
});

/** Checks what the broker reports about its store, istiod's roots, the access file, and leadership. */
export async function checkBroker(operator: string, namespace: string): Promise<Findings> {
  const url = `${operator.replace(/\/+$/, '')}/readyz`;
  const answer = await ask(url, { method: 'GET' }).catch(() => undefined);
  if (!answer) {
    const error = new MeshpassError('agent_broker_unreachable', `Cannot reach the operator listener at ${operator}.`);
    return failed(error, {
      seen: `GET ${url}`,
      next: 'Forward its port, and pass the local URL as --operator.',
      command: forwardToActive(namespace),
    });
  }
  const said = Readiness.safeParse(answer.json).data;
  const { status, reasons, warnings } = said ?? { reasons: [], warnings: [] };
  if (status === 'ready') {
    const serves = ok('The broker is active: database, istiod and access file are healthy.', url);
    const found = warnings.length === 0 ? serves : warnings.map((one) => toMend(one, url, namespace));
    return [found, breakGlass(said?.break_glass, url, namespace)].flat();
  }
  if (status === 'standby') {
    const says = `The broker is on standby: ${reasons.join('; ')}.`;
    const advice = { next: 'Query the active broker.', command: forwardToActive(namespace) };
    return warning(says, { seen: `GET ${url}`, ...advice });
  }
  if (reasons.length === 0)
    return misconfigured(`The server at ${operator} is not a broker (status ${answer.status}).`, {
      seen: `GET ${url}`,
      command: `kubectl -n ${namespace} get services`,
    });
  return reasons.map((reason) => ({
    ...misconfigured(`The broker is not ready: ${reason}.`, {
      seen: `GET ${url}`,
      next: `See ${pageUrl('docs/operating-broker.md#when-something-fails')}.`,
      command: `kubectl -n ${namespace} logs deployment/meshpass-broker --tail 50`,
    }),
    ...(/\bstore\b/.test(reason) && { check: 'database' }),
  }));
}

function breakGlass(isOn: boolean | undefined, url: string, namespace: string): Findings {
  if (isOn === undefined) return [];
  const check = 'operators';
  if (!isOn) return { check, ...ok('Break-glass is off: operators sign in by name.', url) };
  const says =
    'Break-glass is on: anyone with the operator token can do nearly everything, and the audit log cannot identify them.';
  const next = `Sign in (${pageUrl('docs/install/operators.md')}), then turn it off: breakGlass.enabled in the chart, or --break-glass.`;
  const command = `kubectl -n ${namespace} get deployment meshpass-broker -o yaml | grep -i break.glass`;
  return { check, ...warning(says, { seen: `GET ${url}`, next, command }) };
}

function toMend(what: string, url: string, namespace: string): Finding {
  return warning(`The broker is active, but: ${what}.`, {
    seen: `GET ${url}`,
    next: `See ${pageUrl('docs/operating-broker.md#when-something-fails')}.`,
    command: `kubectl -n ${namespace} logs "$(kubectl -n ${namespace} get pod -l meshpass.dev/active=true -o name)" --tail 50`,
  });
}

/**
 * Returns a command that forwards a local port to the active broker. Forwarding to the Service is not enough, because
 * it may select a standby.
 */
function forwardToActive(namespace: string): string {
  return `kubectl -n ${namespace} port-forward "$(kubectl -n ${namespace} get pod -l meshpass.dev/active=true -o name)" 9090`;
}
