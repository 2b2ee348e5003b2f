#!/bin/bash
# Does at the first start what the official image of PostgreSQL does with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, or their files.
set -euo pipefail
[ "${1:-}" = postgres ] || exec "$@"
given() {
  local file="$1_FILE"
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}
user=$(given POSTGRES_USER)
user=${user:-postgres}
database=$(given POSTGRES_DB)
database=${database:-$user}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=$(given POSTGRES_PASSWORD)
  [ -n "$password" ] || { echo "POSTGRES_PASSWORD is missing" >&2; exit 1; }
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait --options="-c listen_addresses=''" start
  [ "$database" = postgres ] || createdb --username="$user" --maintenance-db=postgres "$database"
  pg_ctl --wait --mode=fast stop
fi
shift
exec postgres -c listen_addresses='*' "$@"
