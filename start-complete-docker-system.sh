#!/bin/sh
# Starts the container system: ./start-complete-docker-system.sh [--mode full|minimal|dev] [--build]
# Thin over `flotilla compose up`. Where flotilla is not installed, the image does its part: it makes .env and docker/secrets, and Docker Compose
# does the rest.
set -eu
cd "$(dirname "$0")"
if command -v flotilla >/dev/null 2>&1; then
  exec flotilla compose up "$@"
fi

mode=full
build=
while [ $# -gt 0 ]; do
  case $1 in
    --mode) mode=${2:?--mode wants full, minimal or dev}; shift 2 ;;
    --mode=*) mode=${1#--mode=}; shift ;;
    --build) build=yes; shift ;;
    *) echo "unknown: $1; --mode full|minimal|dev and --build are known" >&2; exit 2 ;;
  esac
done
case $mode in full | minimal | dev) ;; *) echo "no mode $mode: full, minimal or dev" >&2; exit 2 ;; esac
if [ -n "$build" ] || [ -z "$(docker image ls --quiet flotilla:latest)" ]; then
  docker build --file docker/Dockerfile --tag flotilla:latest .
fi
docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" --workdir /work flotilla:latest init
exec docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile "$mode" up --detach --wait
