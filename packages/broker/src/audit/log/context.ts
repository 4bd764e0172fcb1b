/** What a decision needs on its way into the audit log, the metrics and the log of the process. */
import type { Access } from '@meshpass/access';
import type { Logger } from 'pino';
import type { Clock } from '../../clock/clock.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { AuditContext } from './decision.ts';
import type { Journal } from './journal.ts';
import type { RefusalMeter } from './refusal-meter.ts';

export interface AuditParts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly meter: RefusalMeter;
  readonly ruleOf: NonNullable<AuditContext['ruleOf']>;
  readonly metrics: Pick<Metrics, 'decision'>;
  readonly log: Logger;
}

export function auditContext({ journal, clock, meter, ruleOf, metrics, log }: AuditParts): AuditContext {
  return {
    ...{ journal, clock, meter, ruleOf },
    observe: (event, outcome, error, metered) => {
      metrics.decision(event.action, outcome, error?.code ?? '');
      // Strangers must not fill the log either.
      if (!error || metered) return;
      const { code, message, detail, cause } = error;
      log.info(
        { decision: event.id, action: event.action, session: event.sessionId, code, message, detail, err: cause },
        'refused',
      );
    },
  };
}

/**
 * Grants by name, each with the place in the access file that gives it.
 * @returns for `payments-dev,ops` something like `payments-dev access.yaml:12:3, ops access.yaml:30:3`
 */
export function namedRules(mesh: {
  readonly inForce: () => boolean;
  readonly access: () => Access;
}): (grants: string) => string | undefined {
  return (grants) => {
    if (!mesh.inForce()) return undefined;
    const { grants: all } = mesh.access();
    const named = grants.split(',').flatMap((name) => {
      const place = all.find((grant) => grant.name === name)?.place;
      return place ? [`${name} ${place.file}:${place.line}:${place.column}`] : [];
    });
    return named.length === 0 ? undefined : named.join(', ');
  };
}
