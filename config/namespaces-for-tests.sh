#!/bin/sh
# Whether tests may make network namespaces here, and the tools for it: iproute2 and iptables.
#
#   config/namespaces-for-tests.sh    nothing to say if they may; exit code 77 and why if not
#
# Where a tool is missing, root installs it from Debian's packages.  What is tried is taken away.
set -eu

no() { echo "namespaces: $*" >&2; exit 77; }

[ "$(id -u)" = 0 ] || no "only root may make them"

for each in ip:iproute2 tc:iproute2 iptables:iptables; do
  tool=${each%:*} package=${each#*:}
  command -v "$tool" >/dev/null && continue
  if command -v apt-get >/dev/null; then
    { apt-get install -qq -y --no-install-recommends "$package" ||
      { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$package"; }
    } >/dev/null 2>&1 </dev/null || true
  fi
  command -v "$tool" >/dev/null || no "no $tool here: apt-get install $package"
done

name=hean-try-$$
try() {
  said=$("$@" 2>&1) || { ip netns del "$name" 2>/dev/null || true; no "not permitted: $*: $said"; }
}
try ip netns add "$name"
try ip -n "$name" link set lo up
try ip -n "$name" link add near0 type veth peer name far0
try ip netns exec "$name" iptables -w 5 -A INPUT -s 10.213.77.1 -j DROP
ip netns del "$name"
