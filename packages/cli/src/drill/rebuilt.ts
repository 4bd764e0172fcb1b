/** Rows about the rebuilt workspace: its new credentials work, and the old identity token adds no access to them. */

import type { DrillRow } from '@meshpass/identity/drill-report';
import { decodeJwt } from 'jose';
import { row } from './attempt.ts';
import { call } from './call.ts';
import type { Held } from './credentials.ts';
import { renewLease, verdictOf } from './renew-lease.ts';
import { shortName, type Target } from './targets.ts';

/**
 * Uses a new session's credentials, and the old identity token over a connection with the new certificate.
 * @param old session that has ended
 * @param fresh new session of the same workspace
 */
export async function rebuilt(old: Held, fresh: Held, targets: readonly Target[]): Promise<DrillRow[]> {
  const { credentials, opened } = fresh;
  const { mesh, session } = opened;
  const way = { edge: mesh.edge };
  const rows: DrillRow[] = [];
  const renewed = verdictOf(await renewLease(credentials));
  const renewal = { layer: 'session renewal', tried: `new session ${session.id}` } as const;
  rows.push(row('rebuild', renewal, renewed.verdict === 'taken' ? 'lives' : 'broken', renewed.how));
  for (const target of targets) {
    const presented = { svid: true, identityToken: target.path !== undefined };
    const { verdict, how } = await call(credentials, mesh, target, way, presented);
    const about = { layer: 'edge', tried: `new credentials, ${shortName(target)}` } as const;
    rows.push(row('rebuild', about, verdict === 'taken' ? 'lives' : 'broken', how));
  }
  const http = targets.find((target) => target.path !== undefined);
  const dead = old.credentials.identityToken;
  if (http && dead !== undefined) {
    const mixed = { ...credentials, identityToken: dead };
    const { verdict, how } = await call(mixed, mesh, http, way, { svid: true, identityToken: true });
    const expires = new Date((decodeJwt(dead).exp ?? 0) * 1000).toISOString();
    const about = { layer: 'sidecar', tried: 'old identity token on a connection of the new certificate' } as const;
    // A sidecar verifies the token offline. The call succeeds only because a live certificate opened the connection.
    const why = `${how}; verified offline until it expires, ${expires}: worth nothing without a live certificate`;
    rows.push(verdict === 'taken' ? row('rebuild', about, 'noted', why) : row('rebuild', about, 'dead', how));
  }
  return rows;
}
