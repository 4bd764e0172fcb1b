#!/bin/sh
# Starts PostgreSQL on /data. On first use it makes the databases: the statements, one a line, of
# /etc/postgres-init/postgres.sql, and then those of each other NAME.sql in database NAME.
set -e
export TZ=UTC PGTZ=UTC
BIN=/usr/local/pgsql
DATA=/data/db
if [ ! -e "$DATA/PG_VERSION" ]; then
  "$BIN/initdb" -D "$DATA" -U postgres --auth=trust --no-sync --no-instructions --encoding=UTF8 --locale=C
  echo "host all all 0.0.0.0/0 ${POSTGRES_AUTHENTICATION:-trust}" >"$DATA/pg_hba.conf"
  echo "local all all trust" >>"$DATA/pg_hba.conf"
  cat >>"$DATA/postgresql.conf" <<SETTINGS
listen_addresses = '0.0.0.0'
unix_socket_directories = '/tmp'
fsync = off
shared_buffers = 16MB
max_connections = 100
dynamic_shared_memory_type = mmap
jit = off
SETTINGS
  for file in /etc/postgres-init/postgres.sql /etc/postgres-init/*.sql; do
    [ -e "$file" ] || continue
    database=$(basename "$file" .sql)
    [ "$database" = postgres ] && [ -n "$done" ] && continue
    done=1
    "$BIN/postgres" --single -D "$DATA" "$database" <"$file"
  done
fi
rm -f "$DATA/postmaster.pid"
exec "$BIN/postgres" -D "$DATA"
