# Puts the folders that a jail is given where whoever has no rights can take them from, in a view of the files that nobody else has. Run by root
# before it gives up its rights; takes the program that goes on.
set -eu
for number in $JAIL_MOUNTS; do
  eval "from=\$JAIL_FROM_$number"
  mount --bind "$from" "$JAIL_STAGE/$number"
  export "JAIL_FROM_$number=$JAIL_STAGE/$number"
done
exec "$@"
