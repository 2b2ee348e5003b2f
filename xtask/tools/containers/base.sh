#!/bin/sh
# Makes, below the folder $1, what the container system is tried with where no registry of images is reached: the image `local/debian:trixie` with debootstrap,
# and Compose 2.26 with buildx as Debian 13 has them. All from this machine's own mirror of Debian's packages; nothing is installed, but debootstrap wants root.
set -eu
work=$1
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$work"
cd "$work"

mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)
: "${mirror:?no mirror of Debian is named in /etc/apt}"

# Debian 13's packages with lists of their own, whatever this machine's Debian is.
apt=$work/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/packages"
: >"$apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
cat >"$apt/apt.conf" <<END
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "$(id -un)";
END
export APT_CONFIG="$apt/apt.conf"
apt-get -q update
cd "$apt/packages"
rm -f ./*.deb
apt-get -q download docker-compose docker-buildx debootstrap
rm -rf "$apt/unpacked"
for package in *.deb; do
  dpkg-deb -x "$package" "$apt/unpacked"
done
cd "$work"
unset APT_CONFIG

mkdir -p "$work/docker/cli-plugins"
cp "$apt"/unpacked/usr/libexec/docker/cli-plugins/docker-compose "$apt"/unpacked/usr/libexec/docker/cli-plugins/docker-buildx "$work/docker/cli-plugins/"

if [ -z "$(docker image ls --quiet "local/debian:$suite")" ]; then
  rm -rf "$work/debian"
  DEBOOTSTRAP_DIR="$apt/unpacked/usr/share/debootstrap" sh "$apt/unpacked/usr/sbin/debootstrap" --variant=minbase --keyring="$keyring" \
    --include=ca-certificates,wget "$suite" "$work/debian" "$mirror"
  rm -rf "$work/debian/var/cache/apt/archives/"*.deb "$work/debian/var/lib/apt/lists/"*
  tar -C "$work/debian" -c . | docker import --change 'CMD ["/bin/bash"]' --change 'ENV LANG=C.UTF-8' - "local/debian:$suite"
  rm -rf "$work/debian"
fi
