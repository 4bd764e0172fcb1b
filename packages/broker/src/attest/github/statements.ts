/** Statement that writes losses. */
import type { Insertable } from 'kysely';
import { statement, type Tables } from '../../store/index.ts';

/** Records facts that GitHub revoked. */
export const ADD_LOSSES = statement<Insertable<Tables['losses']>>(
  `
insert into losses select * from jsonb_populate_recordset(null::losses, $1::jsonb)
on conflict (fact) do update set learnt_at = greatest(losses.learnt_at, excluded.learnt_at)`,
  { lastOf: 'fact' },
);
