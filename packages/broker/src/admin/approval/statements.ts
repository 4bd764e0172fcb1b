/** Statements that write approval requests and webhook messages. */
import type { Insertable } from 'kysely';
import { statement, type Tables } from '../../store/index.ts';

/**
 * Writes requests. A settled request keeps its state, and only its review changes, because an emergency can be reviewed
 * after its grant has ended.
 */
export const PUT_REQUESTS = statement<Insertable<Tables['approval_requests']>>(`
with x as (
  select * from jsonb_populate_recordset(null::approval_requests, $1::jsonb)
)
insert into approval_requests as r select * from x
on conflict (id) do update set
  state = case when r.state in ('pending', 'approved') then excluded.state else r.state end,
  answers = case when r.state in ('pending', 'approved') then excluded.answers else r.answers end,
  until = case when r.state in ('pending', 'approved') then excluded.until else r.until end,
  review_state = case when excluded.review is null then r.review_state else excluded.review_state end,
  review = coalesce(excluded.review, r.review)`);

/** Adds webhook messages. */
export const ADD_DELIVERIES = statement<Insertable<Tables['approval_deliveries']>>(`
insert into approval_deliveries
select * from jsonb_populate_recordset(null::approval_deliveries, $1::jsonb)
on conflict (id) do nothing`);
