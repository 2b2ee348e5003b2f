# Builds a project in the sandbox: $1 is the profile, $2 compile or package, $3 the project's name. /project is only read; all that is made goes to
# /keep, and what is to be taken away to /keep/artefacts.
set -eu
umask 022
if [ -d /rust/bin ]; then PATH="/rust/bin:$PATH"; export PATH; fi
need() {
  command -v "$1" >/dev/null || { echo "there is no $1 in the sandbox: $2" >&2; exit 127; }
}
fails() {
  tail -c 8000 /keep/log >&2
  exit 1
}
rm -rf /keep/source /keep/artefacts
mkdir -p /keep/source /keep/artefacts
tar -C /project --exclude=./target --exclude=./.git -cf - . | tar -C /keep/source --no-same-owner -xf -
cd /keep/source
source=$(find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum | sha256sum)
