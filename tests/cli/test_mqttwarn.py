"""Rules of taking mqttwarn's configuration, tried on its own examples."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from typing import Any

import apprise
import certifi
import pytest

from almenara.cli._mqttwarn import Imported, read, value_of
from almenara.cli.init import from_mqttwarn
from almenara.config import load
from almenara.model.errors import AlmenaraError
from receivers import program

MANY = """
    [defaults]
    hostname  = 'broker.example'
    username  = 'u'
    password  = $ENV:MQTT_PASSWORD
    ca_certs  = '/etc/ca.pem'
    tls_insecure = True
    launch    = smtp, telegram

    [config:smtp]
    server    = 'mail.example:587'
    sender    = "Hub <hub@example.org>"
    username  = 'hub'
    password  = 's3cret'
    starttls  = True
    targets   = {
        'ops'  : ['ops@example.org', 'b@example.org'],
        }

    [config:telegram]
    token     = '123:abc'
    use_chat_id = True
    targets   = {
        'group' : ['-1001'],
        'jan'   : ['@jan'],
        }

    [config:mail2]
    module    = 'apprise_single'
    baseuri   = 'json://127.0.0.1/hook'
    sender    = 'a@example.org'
    targets   = { 'x': ['b@example.org'] }

    [config:apprise_multi]
    targets   = {
        'both': [{'baseuri': 'ntfy://ntfy.example/a'},
                 {'baseuri': 'mailto://u:p@example.org', 'recipients': ['x@y.org']}],
        }

    [config:pushover]
    targets   = { 'me': ['uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu', 'tttttttttttttttttttttttttttttt', 'siren'] }

    [config:slack]
    token     = 'xoxb-1234-1234-abc'
    targets   = { 'ops': ['#alarms', 'bot', ':fire:'] }

    [config:ntfy]
    targets   = { 'n': 'https://ntfy.sh/mytopic' }

    [config:nsca]
    nsca_host = '172.16.153.112'
    targets   = { 'one': ['localhost', 'T1'] }

    [config:icinga2]
    host      = 'https://icinga.example'
    port      = 5665
    username  = 'api'
    password  = 'p/w'
    targets   = { 'ping': ['host1', 'ping4', 'mqttwarn'] }

    [config:carbon]
    targets   = { 'c1': ['127.0.0.1', 2003] }

    [config:rrdtool]
    targets   = { 'temp': ['/tmp/rrd/kitchen.rrd', '--template', 'temp'] }

    [config:pipe]
    targets   = { 'wc': ['wc', '-l'] }

    [config:execute]
    targets   = {
        'touch': ['touch', '/tmp/executed'],
        'echo' : ['echo', '[TEXT]'],
        }

    [config:syslog]
    targets   = { 'sys': ['local3', 'pid'] }

    [config:mqtt]
    hostname  = 'other.example'
    port      = 1884
    targets   = {
        'o1': ['out/01'],
        'o2': ['out/{name}'],
        }

    [config:http]
    targets   = {
        'post' : ['POST', 'https://h.example/x', {'q': '@message', 't': 'Alarm: {title}'}, ('u', 'p'), True],
        'get'  : ['GET', 'https://h.example/x', {'q': '@message'}, None],
        }

    [config:mattermost]
    targets   = { 'm': ['https://mm.example/hooks/abc', 'alarms', 'bot', None] }

    [config:twilio]
    targets   = { 'hola': ['ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'tok', '+15551234567', '+15557654321'] }

    [config:serial]
    targets   = { 's': ['COM1'] }

    [config:smtp-bad]
    module    = 'smtp'
    targets   = { 'x': ['a@b.org'] }

    [failover]
    targets   = smtp:ops

    [home/alarm/+]
    targets   = smtp:ops, telegram:group
    filter    = only_at_night()
"""


def taken(tmp_path: Path, text: str) -> Imported:
    path = tmp_path / "mqttwarn.ini"
    path.write_text(textwrap.dedent(text))
    return read(path)


def test_each_target_is_a_notifier(tmp_path: Path) -> None:
    found = taken(tmp_path, MANY).tables
    notifiers: dict[str, Any] = {k.removeprefix("notifiers."): v for k, v in found.items() if k != "mqtt"}
    assert found["mqtt"] == {
        "url": "mqtts://broker.example:8883", "username": "u", "password": "env:MQTT_PASSWORD",
        "ca_file": "/etc/ca.pem",
    }  # fmt: skip
    assert notifiers["smtp-ops"] == {
        "plugin": "mail", "host": "mail.example", "port": 587, "security": "starttls", "from": "Hub <hub@example.org>",
        "to": ["ops@example.org", "b@example.org"], "username": "hub", "password": "s3cret",
    }  # fmt: skip
    assert notifiers["telegram-group"] == {"plugin": "telegram", "token": "123:abc", "chats": [-1001]}
    assert notifiers["mail2-x"]["urls"] == ["json://127.0.0.1/hook?from=a@example.org&to=b@example.org"]
    assert notifiers["nsca-one"]["server"] == "172.16.153.112"
    assert (notifiers["nsca-one"]["host"], notifiers["nsca-one"]["service"]) == ("localhost", "T1")
    assert notifiers["icinga2-ping"]["url"].startswith("https://api:p%2Fw@icinga.example:5665/v1/actions/")
    assert notifiers["icinga2-ping"]["template"]["service"] == "host1!ping4"
    assert notifiers["carbon-c1"] == {"plugin": "graphite", "server": "127.0.0.1:2003"}
    assert notifiers["rrdtool-temp"]["directory"] == "/tmp/rrd"
    assert notifiers["pipe-wc"]["command"] == ["wc", "-l"]
    assert notifiers["syslog-sys"]["facility"] == "local3"
    assert notifiers["mqtt-o1"]["message_topic"] == "out/01"
    assert notifiers["http-post"]["template"] == {"q": "{text}", "t": "Alarm: {title}"}
    assert notifiers["http-post"]["url"] == "https://u:p@h.example/x"


def test_urls_of_apprise_are_such_that_apprise_takes(tmp_path: Path) -> None:
    tables = taken(tmp_path, MANY).tables
    urls = [url for table in tables.values() if table.get("plugin") == "apprise" for url in table["urls"]]
    assert len(urls) == 7
    assert [url for url in urls if apprise.Apprise.instantiate(url) is None] == []


def test_what_has_no_counterpart_is_named_with_its_line(tmp_path: Path) -> None:
    found = taken(tmp_path, MANY)
    lines = (tmp_path / "mqttwarn.ini").read_text().splitlines()
    said = {lines[line - 1].split()[0].strip("{"): why for line, why in found.left_out}
    text = "\n".join(why for _, why in found.left_out)
    for wanted in ("telegram:jan", "execute:echo", "mqtt:o2", "http:get", "serial:s", "smtp-bad:x", "[failover]"):
        assert wanted in text
    assert said["tls_insecure"].startswith("tls_insecure: TLS is always verified")
    assert "'jan'" in said
    assert said["[home/alarm/+]"].endswith("told to smtp:ops, telegram:group: what comes is judged here; write a rule; "
                                           "filter call functions of Python")  # fmt: skip


def test_the_file_is_one_that_almenara_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "x")
    ini, out = tmp_path / "mqttwarn.ini", tmp_path / "hub.toml"
    ini.write_text(textwrap.dedent(MANY).replace("/etc/ca.pem", certifi.where()))
    assert from_mqttwarn(ini, out, force=False) == 0, capsys.readouterr()
    config = load(out)
    assert config.mqtt.url == "mqtts://broker.example:8883"
    assert config.notifiers["smtp-ops"].values["host"] == "mail.example"
    for plugin in config.notifiers.values():
        plugin.build()
    assert out.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert "s3cret" not in said
    assert "notifiers.smtp-ops.password" in said
    with pytest.raises(AlmenaraError, match="there already"):
        from_mqttwarn(ini, out, force=False)


@pytest.mark.real("mqttwarn")
def test_mqttwarns_own_example_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ini, out = tmp_path / "mqttwarn.ini", tmp_path / "hub.toml"
    made = subprocess.run([program("mqttwarn"), "make-config"], capture_output=True, check=True).stdout
    ini.write_bytes(made)
    assert from_mqttwarn(ini, out, force=False) == 0
    assert sorted(load(out).notifiers) == ["file-f01", "file-log-me", "file-mqttwarn"]
    assert f"{ini}:98: left out: [hello/1]" in capsys.readouterr().out


def test_nothing_in_the_file_is_run_or_leaves_its_comment(tmp_path: Path) -> None:
    assert value_of("__import__('os').system('touch stolen')") == "__import__('os').system('touch stolen')"
    assert value_of("[1, 'a', None]") == [1, "a", None]
    assert value_of("TRUE") is True
    assert value_of("(" * 100_000).startswith("((")
    found = taken(tmp_path, '[config:serial]\ntargets = {"x\\n[http]\\nlisten = 1": ["a"]}\n')
    assert [line for line in found.toml("a\nb").splitlines() if not line.startswith("#")] == ["version = 1", ""]


def test_what_is_no_ini_is_told_without_its_text(tmp_path: Path) -> None:
    for text, why in (("hidden", r":1: .*neither"), ("[a]\nx=1\nx=2", ":3: .*twice"), ("[a]\n[a]", ":2: .*twice")):
        with pytest.raises(AlmenaraError, match=why) as caught:
            taken(tmp_path, text)
        assert "hidden" not in str(caught.value)
    (tmp_path / "big").write_bytes(b"#" * 2_000_000)
    with pytest.raises(AlmenaraError, match="larger"):
        read(tmp_path / "big")
    with pytest.raises(AlmenaraError, match="cannot be read"):
        read(tmp_path / "none")
