/** A query whose result changes with whatever a test could change in the schema: columns, triggers, functions, indexes, migrations. */
export const FINGERPRINT = `select md5(string_agg(line, ';' order by line)) as schema from (
  select format('%s %s %s %s', attrelid::regclass, attname, atttypid, attnotnull) as line from pg_attribute
    where attrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace) and attnum > 0
  union all select format('%s %s %s', tgrelid::regclass, tgname, tgenabled) from pg_trigger where not tgisinternal
  union all select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
    where connamespace = 'public'::regnamespace
  union all select prosrc from pg_proc where pronamespace = 'public'::regnamespace
  union all select name from kysely_migration) lines`;
