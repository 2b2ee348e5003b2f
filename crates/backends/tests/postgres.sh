#!/bin/sh
# A PostgreSQL for tests, reached through a socket in FOLDER, so that no port is needed.
#
#   postgres.sh schema FOLDER   starts it unless it runs, makes a new schema and prints its URL
#   postgres.sh start FOLDER    only starts it, and prints its URL
#   postgres.sh stop FOLDER     ends it and removes it
#
# Who uses it holds a shared lock on FOLDER/users; when nobody has for a while, it ends by itself. Ends with 3 when PostgreSQL is not installed.
set -eu
umask 022
verb=$1 folder=$2 script=$(realpath "$0")

bin=
for found in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin; do
  if [ -x "$found/initdb" ]; then bin=$found; fi
done
if [ -z "$bin" ] && initdb=$(command -v initdb); then bin=$(dirname "$initdb"); fi
if [ -z "$bin" ]; then
  echo "PostgreSQL's server is not installed: apt-get install postgresql" >&2
  exit 3
fi

# The server refuses to be root.
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  as() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
fi

mkdir -p "$folder"
cd "$folder"
if ! [ -O "$folder" ]; then
  echo "$folder is somebody else's" >&2
  exit 1
fi
base="postgres://flotilla@$(printf %s "$folder/socket" | sed 's|/|%2F|g')/flotilla"
ask() { as "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$folder/socket" -U flotilla -d "${2:-flotilla}" -c "$1"; }

start() {
  if [ -f data/ready ] && ask "SELECT 1" >/dev/null 2>&1; then return; fi
  if ! [ -f data/ready ]; then
    rm -rf data socket
    mkdir -m 700 data socket
    [ "$(id -u)" != 0 ] || chown 65534:65534 data socket
    as "$bin/initdb" -D data -U flotilla -E UTF8 --locale=C --auth=trust --no-sync --no-instructions >/dev/null
    printf 'local all locked scram-sha-256\nlocal all all trust\n' | as sh -c 'cat > data/pg_hba.conf'
    as sh -c 'cat >> data/postgresql.conf' <<CONF
listen_addresses = ''
unix_socket_directories = '$folder/socket'
max_connections = 200
shared_buffers = 64MB
# What survives the server's death need not survive the machine's.
fsync = off
full_page_writes = off
CONF
  fi
  # A server that was killed leaves its children for a moment, and while they last no other starts.
  tries=0
  until as "$bin/pg_ctl" start -w -s -t 60 -D data -l data/log </dev/null >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 50 ]; then
      tail -n 20 data/log >&2
      exit 1
    fi
    sleep 0.2
  done
  if ! [ -f data/ready ]; then
    ask "CREATE DATABASE flotilla" postgres
    as touch data/ready
  fi
}

case $verb in
  start | schema)
    # The lock is not for the server, which would hold it for ever.
    exec 9>start
    flock 9
    (start) 9>&-
    flock -u 9
    if [ "$verb" = start ]; then
      echo "$base"
    else
      schema=t$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
      ask "CREATE SCHEMA $schema"
      echo "$base?options=-csearch_path%3D$schema"
    fi
    # One process ends the server when it is needed no more; another one that is about to end is waited for.
    setsid flock -w 2 guard sh -c '
      while flock -x users true; do
        sleep 15
        flock -n -x users sh "$0" stop "$1" && exit
      done' "$script" "$folder" </dev/null >/dev/null 2>&1 9>&- &
    ;;
  stop)
    as "$bin/pg_ctl" stop -s -m immediate -D data >/dev/null 2>&1 || true
    rm -rf data socket
    ;;
  *)
    echo "schema, start or stop, not $verb" >&2
    exit 2
    ;;
esac
