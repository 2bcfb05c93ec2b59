#!/bin/bash
# world.sh PROGRAMS DIST BLOCKS: hosts as the page Install has them, and its blocks run on them in order.
#
# It runs in mount, network and process namespaces of its own, which take everything down with them.
# Each host has a network, an /etc, a /run and a /var of its own. BLOCKS holds a file for each block,
# named NUMBER.HOST.
set -euo pipefail
programs=$1 dist=$2 blocks=$3 here=$(cd "$(dirname "$0")" && pwd)
declare -A address=(
  [control-1]=2001:db8::11 [control-2]=2001:db8::12 [worker-1]=2001:db8::21
  [edge-1]=2001:db8::31 [client]=2001:db8::99
)
order=(control-1 control-2 worker-1 edge-1 client)
declare -A holder

mount --make-rprivate /
mount -t tmpfs -o mode=0755 world /mnt
ip link set lo up
ip link add switch type bridge
ip link set switch up

# What each host sees in place of the machine's own. Runs inside the host's namespaces.
furnish() {
  set -euo pipefail
  local name=$1 folder
  mkdir -p "/mnt/$name/etc"
  cp -a /etc/. "/mnt/$name/etc"
  mount --bind "/mnt/$name/etc" /etc
  cat /mnt/hosts >> /etc/hosts
  for folder in /run /var/lib /var/log /root /usr/src /tmp; do
    [ "$folder" = /tmp ] || mount -t tmpfs -o mode=0755 "$name" "$folder"
  done
  mkdir -p /run/programs /usr/src/sextant/dist
  for program in sextant sextant-control sextant-agent sextant-edge; do
    touch "/run/programs/$program"
    mount --bind "/mnt/programs/$program" "/run/programs/$program"
  done
  for shim in systemctl scp; do
    install -m 755 "/mnt/shims/$shim" "/run/programs/$shim"
  done
  mount --bind /mnt/dist /usr/src/sextant/dist
  mkdir -p /etc/sextant
  ip link set lo up
}
export -f furnish

mkdir /mnt/programs /mnt/shims /mnt/dist /mnt/holders
for program in sextant sextant-control sextant-agent sextant-edge; do
  touch "/mnt/programs/$program"
  mount --bind "$programs/$program" "/mnt/programs/$program"
done
cp "$here/systemctl" "$here/scp" /mnt/shims
mount --bind "$dist" /mnt/dist
for name in "${order[@]}"; do
  echo "${address[$name]} $name.example.com $name"
done > /mnt/hosts

for name in "${order[@]}"; do
  unshare --net --mount --uts bash -c "furnish $name && touch /mnt/holders/$name.ready && exec sleep infinity" &
  holder[$name]=$!
  echo "${holder[$name]}" > "/mnt/holders/$name"
done
for name in "${order[@]}"; do
  for _ in $(seq 200); do
    [ -e "/mnt/holders/$name.ready" ] && break
    kill -0 "${holder[$name]}"
    sleep 0.05
  done
  ip link add "to-$name" type veth peer name eth0 netns "${holder[$name]}"
  ip link set "to-$name" master switch up
  nsenter -t "${holder[$name]}" -n sysctl -q -w net.ipv6.conf.eth0.accept_dad=0
  nsenter -t "${holder[$name]}" -n ip link set eth0 up
  nsenter -t "${holder[$name]}" -n ip -6 address add "${address[$name]}/64" dev eth0 nodad
done

on() {
  local name=$1
  shift
  nsenter -t "${holder[$name]}" --net --mount --uts --wdns=/root -- env -i HOME=/root \
    PATH=/run/programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Postgres as Debian's package leaves it: a cluster named main, peer for local users.
on control-1 bash -euo pipefail "$here/postgres.sh"

for block in "$blocks"/*; do
  host=${block##*.}
  if [ "$host" = every ]; then hosts=("${order[@]:0:4}"); else hosts=("$host"); fi
  for name in "${hosts[@]}"; do
    echo "== $(basename "$block") on $name"
    # What follows `exec` on a terminal is not here: a block ends at its first failure.
    if ! on "$name" bash -euo pipefail "$block" 2>&1; then
      echo "== this block failed on $name:"
      cat "$block"
      for each in "${order[@]}"; do
        on "$each" sh -c 'tail -n 15 /var/log/sextant-*.log 2>/dev/null' | sed "s/^/$each: /" || true
      done
      exit 1
    fi
  done
done
echo "== done"
