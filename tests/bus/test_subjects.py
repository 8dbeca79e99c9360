"""The mapping of topics to NATS subjects is the real server's."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from almenara.bus.subjects import Topics, topic_of
from brokers import embedded, reading, until

TOPICS = [
    "sensors/mumbai", "plain", "a.b/c.d", "spBv1.0/group/DDATA/x", "..", "./.", "/lead", "trail/", "/", "//", "///",
    "/lead//empty/", "a//b", "a/./b", "a/../b", "a./b", "a/.b", "ünï/코/🌡", "a$b/$c", "a>b/*/c", "a\x0bb",
    "vertical\xa0space", "quo'te\"s/{}[]", "1/2/3",
]  # fmt: skip


def test_every_topic_comes_back_as_it_was_sent_at_each_qos(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus) as heard:
            messages = [(topic, str(qos), qos, False) for qos in (0, 1, 2) for topic in TOPICS]
            port = int(bus.address.rpartition(":")[2])
            # In a process of its own: paho's loop waits with select(), which takes no descriptor past 1023.
            code = "import json, sys, paho.mqtt.publish as p\n"
            code += f"p.multiple([tuple(m) for m in json.load(sys.stdin)], port={port})"
            client = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=subprocess.PIPE)
            await client.communicate(json.dumps(messages).encode())
            await until(lambda: len(heard) >= len(messages))
        for qos in (b"0", b"1", b"2"):
            assert [p.topic for p in heard if p.payload == qos] == TOPICS
        assert {(p.payload, p.qos) for p in heard} == {(b"0", 0), (b"1", 1), (b"2", 1)}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("subject", "topic"),
    [(b"a.b", "a/b"), (b"a//b", "a.b"), (b"/.a./.b./", "/a//b/"), (b"a\xff.b", "a\ufffd/b")],
)
def test_subjects_are_read_back(subject: bytes, topic: str) -> None:
    assert topic_of(subject) == topic


def test_our_own_topics_and_those_with_a_dollar_are_no_input() -> None:
    topics = Topics(b"$MQTT.msgs.")
    assert topics(b"$MQTT.msgs.almenara.alarm.x.y") is None
    assert topics(b"$MQTT.msgs.$SYS.x") is None
    assert topics(b"$MQTT.msgs.sensors.x") == ("sensors/x", "mqtt:sensors/x")
    assert topics(b"$MQTT.msgs.sensors.x") == ("sensors/x", "mqtt:sensors/x")
    assert Topics(b"", root="other")(b"almenara.alarm.x.y") == ("almenara/alarm/x/y", "mqtt:almenara/alarm/x/y")
