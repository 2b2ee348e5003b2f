need cargo 'set servers.scripts.rust_dir to a Rust toolchain, or install cargo and rustc with the system'
need cc 'a linker comes with gcc or clang'
export CARGO_HOME=/keep/cargo CARGO_TARGET_DIR=/keep/target CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
folder=$1
if [ "$1" = dev ]; then folder=debug; fi
# What an earlier build left there is none of this one's.
if [ -d "/keep/target/$folder" ]; then find "/keep/target/$folder" -maxdepth 1 -type f -delete; fi
locked=
if [ -f Cargo.lock ]; then locked=--locked; fi
cargo build --offline $locked --profile "$1" >/keep/log 2>&1 || fails
toolchain="$(cargo --version), $(rustc --version)"
find "/keep/target/$folder" -maxdepth 1 -type f ! -name '*.d' ! -name '.*' -exec cp {} /keep/artefacts/ \;
awk -F'"' '
  function tell() { if (name != "") print "cargo " name " " version " " (sum == "" ? "-" : "sha256:" sum) }
  /^\[\[package\]\]/ { tell(); name = ""; version = ""; sum = "" }
  /^name = / { name = $2 }
  /^version = / { version = $2 }
  /^checksum = / { sum = $2 }
  END { tell() }
' Cargo.lock >/keep/components
if [ "$2" = package ]; then
  tar -C /keep/artefacts --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf /keep/package.tar .
  gzip -n -c /keep/package.tar >"/keep/$3.tar.gz"
  rm -rf /keep/artefacts
  mkdir /keep/artefacts
  mv "/keep/$3.tar.gz" /keep/artefacts/
  rm /keep/package.tar
fi
