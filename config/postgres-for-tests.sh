#!/bin/sh
# A PostgreSQL of its own for the tests, from Debian's packages: nothing of the system's is touched.
#
#   config/postgres-for-tests.sh start [DIR]   make a cluster (or start DIR's again); prints DIR
#                                              and, on the second line, the store's URL
#   config/postgres-for-tests.sh stop DIR [fast|immediate]
#   config/postgres-for-tests.sh drop DIR      stop it and take it away
#
# It listens on a socket in DIR and on no port, trusts whoever can reach that folder, and skips
# fsync: for tests, never for anything that matters.  PostgreSQL will not run as root: then it runs
# as `postgres`.  Where it is missing, root installs it; exit code 77 says that it cannot be had.
set -eu

say() { echo "postgres-for-tests: $*" >&2; }

newest() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -1; }

have() {
  BIN=$(newest)
  [ -n "$BIN" ] && [ -x "$BIN/initdb" ] && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian's postgresql"
    { apt-get install -qq -y --no-install-recommends postgresql ||
      { apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql; }
    } >&2 </dev/null || true
    BIN=$(newest)
  fi
  if [ -z "$BIN" ]; then
    say "PostgreSQL is not here: apt-get install postgresql"
    exit 77
  fi
}

as_them() {
  if [ "$(id -u)" = 0 ]; then
    (cd "$DIR" && exec setpriv --reuid=postgres --regid=postgres --init-groups "$@")
  else
    "$@"
  fi
}

start() {
  have
  if [ -z "$DIR" ]; then
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/hean-pg.XXXXXX")
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$DIR"
    chmod 711 "$DIR"  # whoever tests may pass through to the socket
  fi
  if [ ! -f "$DIR/data/PG_VERSION" ]; then
    as_them "$BIN/initdb" -D "$DIR/data" -U hean --auth=trust -E UTF8 --locale=C -N >"$DIR/initdb.log" 2>&1 ||
      { cat "$DIR/initdb.log" >&2; exit 1; }
    fresh=yes
  fi
  as_them "$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -w -t 30 -s \
    -o "-c listen_addresses='' -c unix_socket_directories='$DIR' -c fsync=off -c full_page_writes=off -c max_connections=50" \
    start >&2 || { tail -20 "$DIR/log" >&2; exit 1; }
  if [ -n "${fresh:-}" ]; then
    as_them "$BIN/psql" -q -h "$DIR" -U hean -d postgres -c "CREATE DATABASE hean" >&2
  fi
  echo "$DIR"
  echo "postgresql+asyncpg://hean@/hean?host=$DIR"
}

stop() {
  have
  [ -f "$DIR/data/postmaster.pid" ] || return 0
  as_them "$BIN/pg_ctl" -D "$DIR/data" -w -t 30 -s -m "${1:-fast}" stop >&2
}

DIR=${2:-}
case ${1:-} in
  start) start ;;
  stop) [ -n "$DIR" ] || { say "which DIR?"; exit 2; }; stop "${3:-fast}" ;;
  drop)
    [ -f "$DIR/data/PG_VERSION" ] || { say "no cluster of ours: '$DIR'"; exit 2; }
    stop immediate
    rm -rf "$DIR"
    ;;
  *) say "start [DIR] | stop DIR [fast|immediate] | drop DIR"; exit 2 ;;
esac
