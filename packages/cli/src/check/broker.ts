/** What the broker says of itself. */
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { ask } from '../broker/ask.ts';
import { type Finding, failed, wrong } from '../doctor/line.ts';
import { fine } from './context.ts';

/** As far as it is looked at here; anything may answer at the address. */
const Readiness = z.object({
  status: z.string().optional(),
  reasons: z.array(z.string()).default([]),
  warnings: z.array(z.string()).default([]),
  /** Absent: a version before it could be off. */
  break_glass: z.boolean().optional(),
});

/** Store, istiod's roots, access file and leadership, as its readiness has them. */
export async function checkBroker(operator: string, namespace: string): Promise<readonly Finding[]> {
  const url = `${operator.replace(/\/+$/, '')}/readyz`;
  const answer = await ask(url, { method: 'GET' }).catch(() => undefined);
  if (!answer) {
    const error = new MeshpassError('agent_broker_unreachable', `The operator listener ${operator} cannot be reached.`);
    return [
      failed('broker', error, {
        ...{ seen: `GET ${url}`, next: 'Forward its port, and give it with --operator.' },
        command: forwardToActive(namespace),
      }),
    ];
  }
  const said = Readiness.safeParse(answer.json).data;
  const { status, reasons, warnings } = said ?? { reasons: [], warnings: [] };
  if (status === 'ready') {
    const serves = fine('broker', 'It serves: database, istiod and access file are as they should be.', url);
    const found = warnings.length === 0 ? [serves] : warnings.map((warning) => toMend(warning, url, namespace));
    return [...found, ...breakGlass(said?.break_glass, url, namespace)];
  }
  if (status === 'standby') {
    const says = `It stands by: ${reasons.join('; ')}.`;
    const advice = { next: 'Ask the active one.', command: forwardToActive(namespace) };
    return [{ check: 'broker', state: 'warning', says, seen: `GET ${url}`, ...advice }];
  }
  if (reasons.length === 0)
    return [
      wrong('broker', `What answers at ${operator} is not a broker: status ${answer.status}.`, {
        ...{ seen: `GET ${url}`, command: `kubectl -n ${namespace} get services` },
      }),
    ];
  return reasons.map((reason) =>
    wrong(/\bstore\b/.test(reason) ? 'database' : 'broker', `It is not ready: ${reason}.`, {
      seen: `GET ${url}`,
      next: 'docs/operating-broker.md, "When something fails".',
      command: `kubectl -n ${namespace} logs deployment/meshpass-broker --tail 50`,
    }),
  );
}

function breakGlass(isOn: boolean | undefined, url: string, namespace: string): readonly Finding[] {
  if (isOn === undefined) return [];
  if (!isOn) return [fine('operators', 'Break-glass is off: operators sign in by name.', url)];
  const says =
    'Break-glass is on: whoever has the operator token may do nearly everything, and nobody knows who it is.';
  return [
    {
      ...{ check: 'operators', state: 'warning', says, seen: `GET ${url}` },
      next: 'Sign in (docs/install/operators.md), then switch it off: breakGlass.enabled of the chart, or --break-glass.',
      command: `kubectl -n ${namespace} get deployment meshpass-broker -o yaml | grep -i break.glass`,
    },
  ];
}

function toMend(warning: string, url: string, namespace: string): Finding {
  return {
    ...{ check: 'broker', state: 'warning', says: `It serves, but: ${warning}.`, seen: `GET ${url}` },
    next: 'docs/operating-broker.md, "When something fails".',
    command: `kubectl -n ${namespace} logs "$(kubectl -n ${namespace} get pod -l meshpass.dev/active=true -o name)" --tail 50`,
  };
}

/** The Service of the listeners leads to any broker, also one that stands by. */
function forwardToActive(namespace: string): string {
  return `kubectl -n ${namespace} port-forward "$(kubectl -n ${namespace} get pod -l meshpass.dev/active=true -o name)" 9090`;
}
