#!/usr/bin/env bash
# edge_node as a service, for those without the Debian package. Run from a checkout, as root; run it again to update.
#   systemd/install.sh                  install or update: /opt/edge-node, the unit, a configuration where there is none
#   systemd/install.sh --uninstall      take program and unit away; configuration and state stay
#   systemd/install.sh --purge          take everything away
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=/opt/edge-node
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
cd /      # "python -m edge_node" takes what is installed, not the checkout
umask 022 # the service's user reads it, whatever root's own files are like

declare -A files=(
  [/etc/systemd/system/edge-node.service]=systemd/edge-node.service
  [/etc/sysusers.d/edge-node.conf]=systemd/edge-node.sysusers
  [/etc/tmpfiles.d/edge-node.conf]=systemd/edge-node.tmpfiles
  [/etc/udev/rules.d/70-edge-node-coral.rules]=systemd/70-edge-node-coral.rules
)
drop_ins=/etc/systemd/system/edge-node.service.d
if [ "$(systemctl --version | awk 'NR == 1 { print $2 + 0 }')" -ge 254 ]; then files[$drop_ins/credentials.conf]=systemd/credentials.conf; fi

under_systemd() { [ -d /run/systemd/system ]; }
package_is_there() { dpkg-query -W -f '${db:Status-Abbrev}' edge-node 2>/dev/null | grep -q '^.[^nc]'; }

uninstall() {
  ! package_is_there || fail "the Debian package edge-node is installed, not this; remove it with: apt $1 edge-node"
  if under_systemd; then systemctl disable --now --quiet edge-node.service 2>/dev/null || true; fi
  rm -f "${!files[@]}" /usr/local/bin/edge-node
  rmdir --ignore-fail-on-non-empty "$drop_ins" 2>/dev/null || true
  rm -rf "$home" "$home.new" "$home.old"
  if [ "$1" = purge ]; then
    rm -rf /etc/edge-node /var/lib/edge-node
    rm -f /etc/credstore/edge-node.*
    if getent passwd edge-node >/dev/null; then userdel edge-node || true; fi
  fi
  if under_systemd; then systemctl daemon-reload; udevadm control --reload || true; fi
  echo "edge_node is gone"
}

# A new environment beside the one in use; nothing is changed until it is whole and runs.
build() {
  local python version lock
  python=$(command -v python3) || fail "python3 is not installed: apt install python3 python3-venv"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "python3-venv is not installed: apt install python3-venv"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  case $version in
    3.11) lock=$root/config/requirements-bookworm.txt ;;
    3.13) lock=$root/config/requirements-trixie.txt ;;
    3.12 | 3.14) lock= ;;
    *) fail "Python 3.11 to 3.14 is needed, this is $version" ;;
  esac
  rm -rf "$home.new"
  "$python" -m venv --system-site-packages "$home.new"
  # Building leaves files beside the source; those would be root's, in the user's checkout.
  mkdir "$home.new/source"
  cp -r "$root"/{edge_node,models,pyproject.toml,README.md,LICENSE} "$home.new/source/"
  local pip=("$home.new/bin/python" -m pip install --quiet --disable-pip-version-check)
  if [ -n "$lock" ]; then
    "${pip[@]}" --ignore-installed --no-deps --only-binary=:all: --require-hashes -r "$lock" \
      || fail "the libraries could not be installed as pinned in ${lock#"$root"/}; nothing was changed"
    "${pip[@]}" --no-deps "$home.new/source" || fail "edge_node could not be installed; nothing was changed"
  else
    "${pip[@]}" "$home.new/source[web]" || fail "edge_node could not be installed; nothing was changed"
  fi
  rm -rf "$home.new/source"
  # The environment moves to its place afterwards, so its launcher names that place.
  printf '#!%s/bin/python\nimport sys\n\nfrom edge_node.__main__ import main\n\nsys.exit(main())\n' "$home" >"$home.new/bin/edge-node"
  "$home.new/bin/python" -c 'import cv2, numpy, websockets, ai_edge_litert.interpreter, edge_node.cli' \
    || fail "what was installed does not run on this machine; nothing was changed"
  if [ -f /etc/edge-node/edge-node.yaml ]; then
    "$home.new/bin/python" -m edge_node check-config /etc/edge-node/edge-node.yaml \
      || fail "this version does not accept the configuration; nothing was changed"
  fi
}

install_all() {
  ! package_is_there || fail "the Debian package edge-node is installed; update that, or remove it first: apt remove edge-node"
  trap 'rm -rf "$home.new"' EXIT
  build
  rm -rf "$home.old"
  [ ! -e "$home" ] || mv "$home" "$home.old"
  mv "$home.new" "$home"
  rm -rf "$home.old"
  local place
  for place in "${!files[@]}"; do install -D -m 644 "$root/${files[$place]}" "$place"; done
  install -d /etc/edge-node
  [ -e /etc/edge-node/edge-node.yaml ] || install -m 644 "$root/config/edge-node.yaml" /etc/edge-node/edge-node.yaml
  install -m 644 "$root/config/edge-node.schema.json" /etc/edge-node/edge-node.schema.json
  ln -sfn "$home/bin/edge-node" /usr/local/bin/edge-node
  systemd-sysusers edge-node.conf
  systemd-tmpfiles --create edge-node.conf
  if under_systemd; then
    udevadm control --reload || true
    systemctl daemon-reload
    systemctl try-restart edge-node.service
  fi
  echo "$("$home/bin/edge-node" --version) is installed. Set it up and start it with: sudo edge-node setup"
}

[ "$(id -u)" -eq 0 ] || fail "needs root: sudo $0 $*"
case ${1:-} in
  '') install_all ;;
  --uninstall) uninstall remove ;;
  --purge) uninstall purge ;;
  *) fail "unknown option $1; see the head of $0" ;;
esac
