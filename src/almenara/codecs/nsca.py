"""Check results that `send_nsca` of Nagios sends: packets of NSCA, version 3, as they are once deciphered.

Protocol: https://github.com/NagiosEnterprises/nsca, include/common.h: version, CRC-32, time, state, host[64],
service[128], output[512 or 4096], in network byte order and padded to 720 or 4304 bytes.
"""

from __future__ import annotations

import json
import math
import struct
import zlib

from almenara.codecs._nagios_rows import NagiosRows
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import NS
from almenara.plugin.contracts import Context

SIZES = (720, 4304)
_HEAD = struct.Struct("!hxxIIh64s128s")
_OUTPUT_AT = _HEAD.size
_PAD = 2
_VERSION = 3
_MAX_SERIES = 200_000


class Nsca:
    """NSCA packets, one or more, deciphered: host or service, state and the plugin's output with its perfdata.

    Series: `nagios_check_state{host, service}` (0 OK, 1 warning, 2 critical, 3 unknown), `nagios_host_state{host}`, and
    for each figure `nagios_perfdata{host, service, label}` in seconds, bytes or per cent, with `_warn`, `_crit`, `_min`
    and `_max`. Times are those of receipt: NSCA's own time only says when the connection was made.

    Rejected by name: `bad_crc`, `bad_packet`, `bad_perfdata`, `key_too_long`.
    """

    def __init__(self) -> None:
        self._table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all packets; DecodeError where the length is wrong or no packet is whole."""
        if len(self._table) > _MAX_SERIES:
            self._table = SeriesTable()
        if not payload:
            return NagiosRows(self._table).decoded()
        size = next((size for size in SIZES[::-1] if len(payload) % size == 0), 0)
        if not size:
            raise DecodeError(f"found {len(payload)} bytes, expected NSCA packets of 720 or 4304")
        if size == 4304 and not _is_whole(payload[:size]) and len(payload) % 720 == 0:
            size = 720
        rows = NagiosRows(self._table)
        for at in range(0, len(payload), size):
            self._read(f"packet {at // size + 1}", payload[at : at + size], context.received_ns, rows)
        if not len(rows):
            raise DecodeError(f"no NSCA packet can be read: {rows.rejected[0].detail}")
        return rows.decoded()

    def _read(self, where: str, packet: bytes, received_ns: int, rows: NagiosRows) -> None:
        if not _is_whole(packet):
            detail = "its checksum is wrong: another password or encryption method, or a damaged packet"
            rows.reject(where, "bad_crc", detail)
            return
        version, _, _, state, host, service = _HEAD.unpack_from(packet)
        # Lines that a shell put behind the separator of send_nsca stand in front of the next host.
        texts = [_text(host).strip(), _text(service).strip(), _text(packet[_OUTPUT_AT:-_PAD])]
        if version == _VERSION and not texts[0] and not texts[1] and _read_own(texts[2], rows):
            return
        if version != _VERSION or not texts[0] or not 0 <= state <= 3:
            detail = f"found version {version}, host {texts[0][:20]!r}, state {state}; expected 3, a name, 0 to 3"
            rows.reject(where, "bad_packet", detail)
            return
        rows.add_check(where, texts[0], texts[1], state, texts[2], received_ns)

    def encode(self, batch: Batch) -> bytes:
        """A packet a row. NSCA has no place for a series, so host and service are empty and the output is JSON, which
        `decode` knows again. Left out: rows that are not finite or do not fit into 4096 bytes."""
        packets = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            series = batch.series[int(id)]
            row = {"name": series.name, "labels": dict(series.labels), "time_ns": int(time), "value": float(value)}
            text = json.dumps(row).encode()
            if math.isfinite(value) and len(text) < 4096:
                packets.append(pack("", "", 0, text, int(time) // NS))
        return b"".join(packets)


def pack(host: str, service: str, state: int, output: bytes, time_s: int) -> bytes:
    """One packet of 4304 bytes, with its checksum and not enciphered."""
    head = _HEAD.pack(_VERSION, 0, time_s & 0xFFFFFFFF, state, host.encode(), service.encode())
    packet = head + output.ljust(4096, b"\0") + b"\0" * _PAD
    return packet[:4] + struct.pack("!I", zlib.crc32(packet)) + packet[8:]


def _is_whole(packet: bytes) -> bool:
    return zlib.crc32(packet[:4] + b"\0\0\0\0" + packet[8:]) == int.from_bytes(packet[4:8], "big")


def _text(field: bytes) -> str:
    text = field.partition(b"\0")[0].decode(errors="replace")
    return text.replace("\\n", "\n")  # send_nsca writes a newline as these two characters


def _read_own(text: str, rows: NagiosRows) -> bool:
    """Take a row as `encode` writes it; False where it is none."""
    try:
        row = json.loads(text.replace("\n", "\\n"))
        labels = [(str(k), str(v)) for k, v in row["labels"].items()]
        key, time, value = encode_key(str(row["name"]), labels), int(row["time_ns"]), float(row["value"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    if not math.isfinite(value) or not -(2**63) <= time < 2**63 or len(key) > 4096 or b"\xff\xff" in key:
        return False
    rows.add_row(key, time, value)
    return True
