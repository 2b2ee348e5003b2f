#!/bin/sh
# Unpacks the packages listed in the file $1 below $2/root, from this machine's own sources of packages, with lists of its own: needs no root
# and installs nothing.
set -eu
names=$(cat "$1")
cd "$2"
rm -rf root archives lists cache
mkdir -p archives lists/partial cache/archives/partial root
options="-o Dir::State::Lists=$2/lists -o Dir::Cache=$2/cache -o APT::Sandbox::User=$(id -un) -o Debug::NoLocking=1"
apt-get $options -q update
cd archives
# shellcheck disable=SC2086 # both are lists of words
apt-get $options -q download $names
for package in *.deb; do
  dpkg-deb -x "$package" ../root
done
cd ..
rm -rf archives lists cache
