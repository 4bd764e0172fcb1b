/** Connects decisions to the audit log, the metrics and the process log. */
import type { Access } from '@meshpass/access';
import type { Logger } from 'pino';
import type { Clock, Metrics } from '../../base/index.ts';
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

/** Creates the context that records decisions. */
export function auditContext({ journal, clock, meter, ruleOf, metrics, log }: AuditParts): AuditContext {
  return {
    journal,
    clock,
    meter,
    ruleOf,
    observe: (event, outcome, error, metered) => {
      metrics.decision(event.action, outcome, error?.code ?? '');
      // Unauthenticated clients must not fill the process log either.
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
 * Lists grants with their places in the access file.
 * @returns text such as `payments-dev access.yaml:12:3, ops access.yaml:30:3` for `payments-dev,ops`
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
