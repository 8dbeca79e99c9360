#!/bin/sh
# Install the Debian, node and Python packages that tests of real parts need, where this user may; the tests name what is missing
# elsewhere.
set -u
node_packages() {  # versions and hashes: tests/node/package-lock.json
    folder=$(dirname "$0")/node
    [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return
    command -v npm >/dev/null || { echo "No npm: tests that need packages of tests/node are left out."; return; }
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent \
        || echo "Could not install tests/node/package-lock.json; the tests that need it are left out."
}
python_packages() {  # programs with requirements that are not ours, each in an environment of its own; hashes: tests/peers/*.lock
    for lock in "$(dirname "$0")"/peers/*.lock; do
        place="${lock%.lock}"
        [ "$place/.installed" -nt "$lock" ] && continue
        { python3 -m venv --clear "$place" && "$place/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$lock" \
            && touch "$place/.installed"; } || echo "Could not install $lock; the tests that need it are left out."
    done
}
other_packages() { node_packages; python_packages; }
wanted="mosquitto mosquitto-clients openssl chromium chromium-driver fonts-dejavu-core curl prometheus victoria-metrics influxdb influxdb-client
    collectd-core nagios4-core monitoring-plugins-basic nsca-client libcoap3-bin rrdtool netcat-openbsd zabbix-agent
    prometheus-alertmanager nsca graphite-carbon rsyslog rsyslog-gnutls logrotate libfaketime"
command -v npm >/dev/null || wanted="$wanted nodejs npm"  # Node's own packages bring npm, and Debian's is in their way
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && { other_packages; exit 0; }
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else
    echo "Not root, and no sudo: tests that need$missing are left out."; other_packages; exit 0
fi
echo "Installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null \
    || echo "Could not install$missing; the tests that need them are left out."
other_packages
exit 0
