#!/bin/sh
# Install the Debian and node packages that tests of real parts need, where this user may; the tests name what is missing elsewhere.
set -u
node_packages() {  # versions and hashes: tests/node/package-lock.json
    folder=$(dirname "$0")/node
    [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return
    command -v npm >/dev/null || { echo "No npm: tests that need packages of tests/node are left out."; return; }
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent \
        || echo "Could not install tests/node/package-lock.json; the tests that need it are left out."
}
<<<<<<< HEAD
wanted="mosquitto mosquitto-clients openssl chromium chromium-driver fonts-dejavu-core curl prometheus victoria-metrics influxdb influxdb-client collectd-core nagios4-core monitoring-plugins-basic nsca-client libcoap3-bin rrdtool netcat-openbsd zabbix-agent prometheus-alertmanager nsca graphite-carbon rsyslog rsyslog-gnutls logrotate"
=======
wanted="mosquitto mosquitto-clients openssl chromium chromium-driver fonts-dejavu-core curl prometheus prometheus-alertmanager victoria-metrics influxdb influxdb-client collectd-core nagios4-core monitoring-plugins-basic nsca-client libcoap3-bin rrdtool netcat-openbsd zabbix-agent"
>>>>>>> 8670619 (Answer as Alertmanager does: alerts in and out, silences, for Prometheus, vmalert and amtool; silences over our own API)
command -v npm >/dev/null || wanted="$wanted nodejs npm"  # Node's own packages bring npm, and Debian's is in their way
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && { node_packages; exit 0; }
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else
    echo "Not root, and no sudo: tests that need$missing are left out."; node_packages; exit 0
fi
echo "Installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null \
    || echo "Could not install$missing; the tests that need them are left out."
node_packages
exit 0
