# Makes the inside of a jail and runs a program there. Run by `unshare`, as the only one in its namespaces; any failure ends it before the
# program begins. Takes the interpreter, the program's place, and its arguments; all else comes in variables that begin with JAIL_.
set -eu
umask 022

# The new root: small, in memory, and in place of /tmp, which is everywhere, or of a folder made for it.
mount -t tmpfs -o size=1m,nr_inodes=512,mode=755,nosuid,nodev jail "$JAIL_ROOT"
cd "$JAIL_ROOT"
mkdir proc dev etc old script work
ln -s work tmp

# The system's programs, read-only. A link stays one.
shut() {
  mount --bind "$1" ".$1"
  mount -o remount,bind,ro,nosuid,nodev ".$1"
}
for folder in /bin /sbin /lib /lib32 /lib64 /libx32 /usr; do
  if [ -L "$folder" ]; then
    ln -s "$(readlink "$folder")" ".$folder"
  elif [ -d "$folder" ]; then
    mkdir ".$folder"
    shut "$folder"
  fi
done
files='/etc/ld.so.cache /etc/localtime'
if [ "$JAIL_NETWORK" = yes ]; then
  files="$files /etc/resolv.conf /etc/hosts /etc/nsswitch.conf /etc/services"
fi
for file in $files; do
  if [ -f "$file" ]; then cp -L "$file" ".$file"; fi
done
folders=/etc/alternatives
if [ "$JAIL_NETWORK" = yes ]; then folders="$folders /etc/ssl/certs"; fi
for folder in $folders; do
  if [ -d "$folder" ]; then
    mkdir -p ".$folder"
    shut "$folder"
  fi
done
for number in $JAIL_MOUNTS; do
  eval "from=\$JAIL_FROM_$number at=\$JAIL_AT_$number write=\$JAIL_WRITE_$number"
  mkdir "$at"
  mount --bind "$from" "$at"
  rights=ro
  if [ "$write" = yes ]; then rights=rw; fi
  mount -o "remount,bind,$rights,nosuid,nodev" "$at"
  unset "JAIL_FROM_$number" "JAIL_AT_$number" "JAIL_WRITE_$number"
done
for device in null zero full random urandom; do
  : >"dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

# No namespaces in this one, and so no new rights.
echo 0 >/proc/sys/user/max_user_namespaces
mount -t proc -o ro,nosuid,nodev,noexec proc proc
mount -t tmpfs -o "size=$JAIL_DISK,nr_inodes=4096,mode=700,nosuid,nodev" work work
printf '%s' "$JAIL_TEXT" >script/main
unset JAIL_TEXT

pivot_root . old
cd /work
umount -l /old
rmdir /old
mount -o remount,bind,ro,nosuid,nodev /

# The first process stays, to take in what is orphaned. What it says first tells that the program is about to begin.
exec prlimit --nproc="$JAIL_PROCESSES" --as="$JAIL_MEMORY" --fsize="$JAIL_DISK" --cpu="$JAIL_CPU" --nofile=256 --core=0 --memlock=0 \
  setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
  sh -c '
    printf %s "$JAIL_READY" >&2
    names=$JAIL_NAMES
    unset JAIL_DISK JAIL_PROCESSES JAIL_MEMORY JAIL_CPU JAIL_NETWORK JAIL_READY JAIL_NAMES JAIL_ROOT JAIL_STAGE JAIL_MOUNTS OLDPWD
    for name in $names; do
      eval "export $name=\"\$JAIL_ENV_$name\""
      unset "JAIL_ENV_$name"
    done
    "$@"
    exit $?
  ' sh "$@"
