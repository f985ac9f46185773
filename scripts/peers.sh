#!/usr/bin/env bash
# Brings the real peers within reach: .peers/bin/sozu, .peers/pulsar/bin/pulsar and others. What is there already is used again.
# With --quiet it says only what it does.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

SOZU_VERSION=2.3.3
PULSAR_VERSION=4.0.8
PULSAR_CLIENT_VERSION=3.13.0

# Debian's Prometheus and promtool, unpacked and not installed: the package would start a server.
prometheus() {
  [ -x .peers/bin/prometheus ] && [ -x .peers/bin/promtool ] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    warn "no Prometheus: it comes from Debian's package prometheus, and this is not Debian"
    return
  fi
  (
    exec 9>.peers/.prometheus.lock
    flock 9
    [ -x .peers/prometheus/bin/prometheus ] && [ -x .peers/prometheus/bin/promtool ] && exit 0
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    download() { (cd "$unpacked" && apt-get -qq download prometheus 2>/dev/null); }
    if ! download; then
      [ "$(id -u)" = 0 ] && apt-get -qq update
      download || exit 1
    fi
    dpkg-deb -x "$unpacked"/prometheus_*.deb "$unpacked"
    mkdir -p .peers/prometheus/bin
    for program in promtool prometheus; do
      cp "$unpacked/usr/bin/$program" ".peers/prometheus/bin/.$program.$$"
      mv -f ".peers/prometheus/bin/.$program.$$" ".peers/prometheus/bin/$program"
    done
  ) || {
    warn "no Prometheus: 'apt-get download prometheus' failed; without it the tests that ask it are skipped"
    return
  }
  link_program prometheus promtool
  link_program prometheus prometheus
}

# python_with NAME PROGRAM: a Python with the packages of that peer. It finds them beside itself: the clone that fetched
# them may be gone.
python_with() {
  mkdir -p ".peers/$1/bin"
  cat >".peers/$1/bin/.$2.$$" <<'EOF'
#!/bin/sh
PYTHONPATH=$(dirname "$(readlink -f "$0")")/../packages exec python3 "$@"
EOF
  chmod +x ".peers/$1/bin/.$2.$$"
  mv -f ".peers/$1/bin/.$2.$$" ".peers/$1/bin/$2"
  link_program "$1" "$2"
}

# The OpenMetrics reader of Python's prometheus_client, as .peers/bin/openmetrics-reader: a Python that has it. Unpacked
# from Debian's package, or else by pip from PyPI.
openmetrics_reader() {
  local name=prometheus-client
  if [ ! -d ".peers/$name/packages/prometheus_client" ]; then
    (
      exec 9>".peers/.$name.lock"
      flock 9
      [ -d ".peers/$name/packages/prometheus_client" ] && exit 0
      command -v python3 >/dev/null || exit 1
      unpacked=$(mktemp -d)
      trap 'rm -rf "$unpacked"' EXIT
      mkdir -p ".peers/$name"
      rm -rf ".peers/$name/packages"
      if (cd "$unpacked" && apt-get -qq download python3-prometheus-client) 2>/dev/null; then
        dpkg-deb -x "$unpacked"/*.deb "$unpacked"
        mv "$unpacked/usr/lib/python3/dist-packages" ".peers/$name/packages"
      else
        python3 -m pip --quiet install --no-input --disable-pip-version-check --no-deps \
          --target ".peers/$name/packages" prometheus-client || exit 1
      fi
    ) || {
      warn "no openmetrics-reader: it needs python3, and Debian's python3-prometheus-client or pip; without it the tests that ask it are skipped"
      return
    }
  fi
  python_with "$name" openmetrics-reader
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

# A Java to run it and Maven to fetch it; Debian's, where they are missing.
java_and_maven() {
  local missing=()
  command -v java >/dev/null || missing+=(default-jre-headless)
  [ -x ".peers/pulsar-$PULSAR_VERSION/bin/pulsar" ] || command -v mvn >/dev/null || missing+=(maven)
  [ "${#missing[@]}" = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    warn "no Pulsar: it needs ${missing[*]}; install them with: sudo apt-get install -y --no-install-recommends ${missing[*]}"
    return 1
  fi
  (
    exec 9>/run/lock/sozu-manager-apt.lock
    flock 9
    say "installing Debian packages: ${missing[*]} (for Pulsar)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
  ) || {
    warn "no Pulsar: 'apt-get install ${missing[*]}' failed"
    return 1
  }
}

# The broker's distribution from Maven Central, unpacked: 250 MB.
pulsar() {
  local name="pulsar-$PULSAR_VERSION"
  java_and_maven || return 0
  (
    exec 9>".peers/.$name.lock"
    flock 9
    [ -x ".peers/$name/bin/pulsar" ] && exit 0
    say "fetching Pulsar $PULSAR_VERSION from Maven Central (250 MB, once; it stays in $(peers_cache))"
    fetched=$(mktemp -d "$(peers_cache)/.fetched.XXXXXX")
    trap 'rm -rf "$fetched"' EXIT
    mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      "-Dartifact=org.apache.pulsar:pulsar-server-distribution:$PULSAR_VERSION:tar.gz:bin" \
      "-DoutputDirectory=$fetched" >/dev/null || exit 1
    mkdir "$fetched/unpacked"
    tar -xzf "$fetched"/*.tar.gz -C "$fetched/unpacked" --strip-components=1 || exit 1
    rm -rf ".peers/$name"
    mv "$fetched/unpacked" ".peers/$name"
  ) || {
    warn "no Pulsar: it could not be fetched from Maven Central; without it the tests that ask it are skipped"
    return
  }
  ln -sfn "$name" ".peers/.pulsar.$$"
  mv -fT ".peers/.pulsar.$$" .peers/pulsar
  # the other peers' way to be found; it finds its own home through links
  ln -sfn "../pulsar/bin/pulsar" ".peers/bin/.pulsar.$$"
  mv -fT ".peers/bin/.pulsar.$$" .peers/bin/pulsar
}

# The official Python client of Pulsar, as .peers/bin/pulsar-python: a Python that has it. By pip, from PyPI.
pulsar_python() {
  local name=pulsar-client
  if [ ! -d ".peers/$name/packages/pulsar" ]; then
    (
      exec 9>".peers/.$name.lock"
      flock 9
      [ -d ".peers/$name/packages/pulsar" ] && exit 0
      command -v python3 >/dev/null || exit 1
      if ! python3 -m pip --version >/dev/null 2>&1; then
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
        exec 8>/run/lock/sozu-manager-apt.lock
        flock 8
        say "installing Debian packages: python3-pip (for Pulsar's Python client)"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q update
        apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends python3-pip
      fi
      mkdir -p ".peers/$name"
      rm -rf ".peers/$name/packages" ".peers/$name/fetched"
      python3 -m pip --quiet install --no-input --disable-pip-version-check --root-user-action ignore --only-binary :all: \
        --target ".peers/$name/fetched" "pulsar-client==$PULSAR_CLIENT_VERSION" || exit 1
      mv ".peers/$name/fetched" ".peers/$name/packages"
    ) || {
      warn "no pulsar-python: it needs python3 with pip, and pulsar-client from PyPI; without it the tests that ask it are skipped"
      return
    }
  fi
  python_with "$name" pulsar-python
}

need_packages
link_peers
cargo_peer sozu "$SOZU_VERSION"
prometheus
openmetrics_reader
systemd_analyze
pulsar
pulsar_python

if [ "${1:-}" != --quiet ]; then
  for program in .peers/bin/*; do
    say "$program"
  done
fi
