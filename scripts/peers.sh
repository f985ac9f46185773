#!/usr/bin/env bash
# Brings the real peers within reach: .peers/bin/sozu, .peers/bin/promtool. What is there already is used again.
# With --quiet it says only what it does.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

SOZU_VERSION=2.3.3

# Debian's promtool, unpacked and not installed: the package would start a Prometheus server.
promtool() {
  [ -x .peers/bin/promtool ] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    warn "no promtool: it comes from Debian's package prometheus, and this is not Debian"
    return
  fi
  (
    exec 9>.peers/.promtool.lock
    flock 9
    [ -x .peers/bin/promtool ] && exit 0
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    download() { (cd "$unpacked" && apt-get -qq download prometheus 2>/dev/null); }
    if ! download; then
      [ "$(id -u)" = 0 ] && apt-get -qq update
      download || exit 1
    fi
    dpkg-deb -x "$unpacked"/prometheus_*.deb "$unpacked"
    mkdir -p .peers/promtool/bin
    cp "$unpacked/usr/bin/promtool" ".peers/promtool/bin/.promtool.$$"
    mv -f ".peers/promtool/bin/.promtool.$$" .peers/promtool/bin/promtool
  ) || {
    warn "no promtool: 'apt-get download prometheus' failed; without it the tests that ask it are skipped"
    return
  }
  link_program promtool promtool
}

# Debian's systemd-analyze, which judges the unit that is shipped.
systemd_analyze() {
  command -v systemd-analyze >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    warn "no systemd-analyze: it comes from Debian's package systemd; without it the shipped unit is not judged"
    return
  fi
  (
    exec 9>/run/lock/sozu-manager-apt.lock
    flock 9
    command -v systemd-analyze >/dev/null && exit 0
    say "installing Debian packages: systemd (for systemd-analyze)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends systemd
  ) || warn "no systemd-analyze: 'apt-get install systemd' failed; without it the shipped unit is not judged"
}

need_packages
link_peers
cargo_peer sozu "$SOZU_VERSION"
promtool
systemd_analyze

if [ "${1:-}" != --quiet ]; then
  for program in .peers/bin/*; do
    say "$program"
  done
fi
