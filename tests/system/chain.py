"""Alarms through the whole hub, with real receivers and kill -9: none is lost, and none that was confirmed comes twice.

    python -m tests.system.chain [--rounds 100] [--seed 1]

Each round is the life of one incident: pending, firing, escalated, taken on in a chat, or silenced and told afterwards,
and resolved. At random moments of it, and while a message is on its way, the hub is killed and started again. Receivers
keep what they took: a server of webhooks, one of mail, a file, and a program. What a receiver had taken when the hub
died before it could note that may come twice; it is counted by the number of the notice, apart.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import http.server
import json
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from tests.notifiers.telegram_servers import TOKEN, Ours, ours
from tests.system.clients import GONE

from almenara.testing.process import HubProcess, free_port, wait_until

CONFIG = """
[detectors.seasonal]

[rules.hot]
expr = "temp > 30"
for = "300ms"
[rules.errors]
expr = "sum by (host) (errors) / sum by (host) (requests) > 0.05"
every = "1s"
[rules.unusual]
expr = 'anomaly_score{{of="level_v"}} > 1'

[policies.all]
notify = ["hook", "file"]
continue = true
escalate = [{{ after = "2s", notify = ["boss"] }}]
[policies.slow]
notify = ["mail", "program", "chat"]
group_wait = "500ms"
group_interval = "1s"

[notifiers.hook]
plugin = "webhook"
url = "{hook}"
[notifiers.mail]
host = "127.0.0.1"
port = {mail}
security = "none"
from = "hub@example.org"
to = ["night@example.org"]
[notifiers.file]
path = "{folder}/file.log"
[notifiers.boss]
plugin = "file"
path = "{folder}/boss.log"
[notifiers.program]
plugin = "exec"
command = ["/bin/sh", "-c", "cat >> {folder}/program.log"]
[notifiers.chat]
plugin = "telegram"
token = "{token}"
chats = [1]
operators = ["@anna"]
api = "{chat}"
"""
#: Notifiers that keep the number of each notice.
KEPT = ("hook", "mail", "file", "program", "boss")
#: Those of them that are told of every incident.
TOLD = ("hook", "mail", "file", "program")
PHASES = ("pending", "firing", "on its way", "acknowledged", "silenced", "resolved")
#: A receiver takes up to so long to confirm.
SLOW_S = 0.15


@dataclass
class Receivers:
    """What each took, as (notifier, number of the notice, text)."""

    folder: Path
    rng: random.Random
    took: list[tuple[str, int, str]] = field(default_factory=list)
    asked: int = 0

    def take(self, notifier: str, notice: int, text: str) -> None:
        """Keep it; the sender is told only a little later."""
        self.asked += 1
        self.took.append((notifier, notice, text))
        time.sleep(self.rng.uniform(0, SLOW_S))

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """A mail."""
        mail = email.message_from_bytes(envelope.content)
        text = next(p for p in mail.walk() if p.get_content_type() == "text/plain").get_payload(decode=True)
        self.take("mail", int(mail["Message-ID"][1:].split(".")[0]), str(mail["Subject"]) + text.decode())
        return "250 taken"

    def of(self, notifier: str) -> list[tuple[int, str]]:
        """All that a notifier was told, in order."""
        if notifier in ("hook", "mail"):
            return [(notice, text) for name, notice, text in list(self.took) if name == notifier]
        path = self.folder / f"{notifier}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(json.loads(line)["id"], line) for line in lines]


@contextlib.contextmanager
def hooked(receivers: Receivers) -> Iterator[str]:
    """A server of webhooks; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = re.search(r"\d+", self.headers["Idempotency-Key"])
            assert found is not None
            receivers.take("hook", int(found[0]), body)
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Feeder(threading.Thread):
    """Sends what is to be measured now, again and again, whether a hub is there or not."""

    def __init__(self, hub: HubProcess):
        super().__init__(daemon=True)
        self._hub, self._stopping = hub, threading.Event()
        self._level: dict[str, bool] = {}  # what was sent of `level` last
        self.bad: dict[str, bool] = {}  # host -> whether all is bad there

    def run(self) -> None:
        while not self._stopping.wait(0.1):
            now, lines = dict(self.bad), []
            for host, bad in now.items():
                lines += [f"temp,host={host} value={35 if bad else 20}", f"errors,host={host} value={9 * bad}"]
                lines += [f"requests,host={host} value=100"]
                if self._level.get(host) != bad:  # once: it is to be unusual, not the new level
                    lines += [f"level,host={host} v={95 if bad else 50}"]
            with contextlib.suppress(*GONE):
                if lines and self._hub.post("/write", "\n".join(lines).encode(), timeout_s=5)[0] == 204:
                    self._level |= now

    def finish(self) -> None:
        """Send nothing more."""
        self._stopping.set()
        if self.is_alive():
            self.join()


class Chain:
    """A hub, its receivers, and the life of one incident after the other."""

    def __init__(self, folder: Path, receivers: Receivers, chat: Ours, hook: str, mail: int, rng: random.Random):
        self.rng, self.receivers, self.chat = rng, receivers, chat
        text = CONFIG.format(hook=hook, mail=mail, folder=folder, token=TOKEN, chat=chat.url)
        self.hub = HubProcess(folder / "data", config=text)
        self.feeder = Feeder(self.hub)
        self.kills: Counter[str] = Counter()
        self.hosts: list[str] = []
        self.again = 0  # came twice, since it was on its way when the hub died
        # At each death: what the hub knew to be confirmed, and how many notices each receiver had by then.
        self._noted: list[tuple[set[int], dict[str, int]]] = []

    # --- what is asked of the database, whether the hub runs or not

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of hub.db."""
        with contextlib.closing(sqlite3.connect(f"file:{self.hub.folder}/hub.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def incident(self, host: str) -> dict[str, Any]:
        """The incident of a host; empty while there is none."""
        found = [one for one in self._get("/api/v1/incidents") if any(host in m["series"] for m in one["members"])]
        assert len(found) <= 1, f"{host} has several incidents: {found}"
        return found[0] if found else {}

    def _get(self, path: str) -> Any:
        return self.hub.json(path)

    # --- faults

    def maybe_kill(self, phase: str, phases: Sequence[str]) -> None:
        """Kill the hub a moment from now, where this phase is one of those in which it dies, and start it again."""
        if phase not in phases:
            return
        if phase == "on its way":
            asked = self.receivers.asked
            with contextlib.suppress(AssertionError):  # the message was there already
                wait_until(lambda: self.receivers.asked > asked, "a message", 2)
        else:
            time.sleep(self.rng.uniform(0, 0.4))
        self.kills[phase] += 1
        self.hub.kill()
        sent = {id for (id,) in self.ask("SELECT id FROM outbox WHERE outcome = 'sent'")}
        self._noted.append((sent, {name: len(self.receivers.of(name)) for name in KEPT}))
        self.hub.start()

    # --- a life

    def round(self, phases: Sequence[str], *, quiet: bool, taken: bool) -> None:
        """One incident from its begin to its end. quiet: it is silenced at first; taken: somebody acknowledges it."""
        host = f"h{len(self.hosts)}x"
        self.hosts.append(host)
        self._learn(host)
        silence = self._silence(host) if quiet else ""
        self.feeder.bad[host] = True
        self.maybe_kill("pending", phases)
        wait_until(lambda: len(self.incident(host).get("members", ())) == 3, f"all alarms of {host}")
        if silence:
            self.maybe_kill("silenced", phases)
            wait_until(lambda: self._lines(host, "silenced"), "the silence to be noticed")
            assert not any(host in text for name in TOLD for _, text in self.receivers.of(name)), "it is silenced"
            assert self.hub._ask("DELETE", f"/api/v1/silence/{silence}", None, {}, 60)[0] == 200
        self.maybe_kill("on its way", phases)
        self.maybe_kill("firing", phases)
        self._is_told(host, "firing")
        if taken:
            self._acknowledge(host, phases)
        else:
            self._is_told(host, "firing", ["boss"])
        self.feeder.bad[host] = False
        self.maybe_kill("resolved", phases)
        wait_until(lambda: self.incident(host)["state"] == "resolved", f"the end of {host}")
        self._is_told(host, "resolved")
        del self.feeder.bad[host]

    def _learn(self, host: str) -> None:
        now = time.time_ns()
        past = [f"level,host={host} v={50 + self.rng.gauss(0, 1)} {now - n * 60 * 10**9}" for n in range(1500, 0, -1)]
        assert self.hub.post("/write", "\n".join(past).encode())[0] == 204

    def _silence(self, host: str) -> str:
        body = {"match": f'{{host="{host}"}}', "duration": "1h", "who": "ana", "comment": "a test"}
        status, answer = self.hub.post("/api/v1/silences", json.dumps(body).encode())
        assert status in (200, 201), answer
        return str(json.loads(answer)["id"])

    def _lines(self, host: str, kind: str) -> list[tuple[Any, ...]]:
        one = self.incident(host)["id"]
        return self.ask("SELECT who, text FROM incident_line WHERE incident = ? AND kind = ?", one, kind)

    def _is_told(self, host: str, state: str, whom: Sequence[str] = TOLD) -> None:
        id = self.incident(host)["id"]
        query = "SELECT DISTINCT notifier FROM outbox WHERE incident = ? AND state = ? AND outcome = 'sent'"

        def told() -> bool:
            return {name for (name,) in self.ask(query, id, state)} >= set(whom)

        wait_until(told, f"{', '.join(whom)} to be told that {host} is {state}")

    def _acknowledge(self, host: str, phases: Sequence[str]) -> None:
        id = self.incident(host)["id"]
        self.chat.says(f"ACK {id} looking into it", date=int(time.time()))
        taken = wait_until(lambda: self.incident(host)["acknowledgement"], "the incident to be taken on")
        self.maybe_kill("acknowledged", phases)
        assert self.incident(host)["acknowledgement"] == taken, "it is kept"
        wait_until(lambda: not self.chat.waiting, "the order to be confirmed")

    # --- what must hold

    def check(self) -> None:
        """All was told to everybody, once; nothing came back."""
        wait_until(lambda: not self.ask("SELECT 1 FROM outbox WHERE outcome = ''"), "the outbox to be empty")
        assert {one for (one,) in self.ask("SELECT DISTINCT outcome FROM outbox")} == {"sent"}
        for notifier in KEPT:
            self._check_notifier(notifier)
        journal = self.ask("SELECT rule, series, since, state, count(*) FROM alarm_journal GROUP BY 1, 2, 3, 4")
        assert all(times == 1 for *_, times in journal)
        for host in self.hosts:
            one = self.incident(host)
            assert one["state"] == "resolved"
            told = Counter((name, s) for name, s in self._firsts(one["id"]))
            assert set(told) >= {(name, kind) for name in TOLD for kind in ("firing", "resolved")}, (host, told)
            assert set(told.values()) == {1}, f"{host} was told twice: {told}"
        assert len(self._get("/api/v1/incidents")) == len(self.hosts)

    def _firsts(self, incident: int) -> list[tuple[Any, ...]]:
        query = """SELECT notifier, kind FROM outbox o JOIN outbox_about a ON a.id = o.id
            WHERE incident = ? AND kind IN ('firing', 'resolved', 'escalation')"""
        return self.ask(query, incident)

    def _check_notifier(self, notifier: str) -> None:
        wanted = {id for (id,) in self.ask("SELECT id FROM outbox WHERE notifier = ?", notifier)}
        got = [notice for notice, _ in self.receivers.of(notifier)]
        assert set(got) == wanted, f"{notifier}: lost {wanted - set(got)}, unknown {set(got) - wanted}"
        for sent, had in self._noted:
            again = sent & set(got[had[notifier] :])
            assert not again, f"{notifier} had {again} again, which were confirmed"
        self.again += len(got) - len(set(got))
        deaths = len(self._noted)
        assert max(Counter(got).values(), default=0) <= 1 + deaths, f"{notifier}: more often than the hub died"

    def close(self) -> None:
        """Leave nothing behind."""
        self.feeder.finish()
        if self.hub.process is not None and self.hub.process.poll() is None:
            self.hub.kill()


@contextlib.contextmanager
def chain(folder: Path, seed: int) -> Iterator[Chain]:
    """A hub with receivers, at work."""
    rng = random.Random(seed)
    receivers = Receivers(folder, random.Random(seed))
    port = free_port()
    server = Controller(receivers, hostname="127.0.0.1", port=port)
    server.start()
    try:
        with hooked(receivers) as hook, ours() as chat:
            one = Chain(folder, receivers, chat, hook, port, rng)
            try:
                one.hub.start()
                one.feeder.start()
                yield one
            finally:
                one.close()
    finally:
        server.stop()


def run(one: Chain, rounds: int, said: Callable[[str], object] = lambda text: None) -> None:
    """So many lives, and what must hold after them."""
    began = time.monotonic()
    for n in range(rounds):
        quiet, taken = n % 2 == 0, n % 4 < 2
        possible = [p for p in PHASES if (quiet or p != "silenced") and (taken or p != "acknowledged")]
        phases = one.rng.sample(possible, one.rng.randint(1, 3))
        one.round(phases, quiet=quiet, taken=taken)
        if n % 10 == 9:
            said(f"{n + 1} incidents in {time.monotonic() - began:.0f} s, killed: {dict(one.kills)}")
    one.check()
    told = {name: len(one.receivers.of(name)) for name in KEPT}
    said(
        f"lost 0, doubled 0; on their way at a kill and sent again: {one.again}; told {told}; killed {dict(one.kills)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--rounds", type=int, default=100)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, chain(Path(folder), args.seed) as one:
        run(one, args.rounds, lambda text: print(text, file=sys.stdout, flush=True))


if __name__ == "__main__":
    main()
