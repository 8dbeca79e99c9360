"""Protobuf messages of others as Python objects, made by Google's library: what payloads of tests are built with."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from almenara.codecs import _wire as wire

Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "double": Field.TYPE_DOUBLE, "float": Field.TYPE_FLOAT, "string": Field.TYPE_STRING, "bytes": Field.TYPE_BYTES,
    "int64": Field.TYPE_INT64, "uint64": Field.TYPE_UINT64, "uint32": Field.TYPE_UINT32, "bool": Field.TYPE_BOOL,
}  # fmt: skip


def classes(package: str, messages: dict[str, str], syntax: str = "proto3") -> Any:
    """Message classes by name. messages: name -> "number[*] name type, ..."; `*`: repeated; other types: messages."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax=syntax)
    for name, text in messages.items():
        message = file.message_type.add(name=name)
        for part in text.split(","):
            number, label, kind = part.split()
            field = message.field.add(name=label, number=int(number.rstrip("*")))
            field.label = Field.LABEL_REPEATED if number.endswith("*") else Field.LABEL_OPTIONAL
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


#: https://github.com/prometheus/prometheus/blob/main/prompb/types.proto and remote.proto
PROMETHEUS = classes(
    "prometheus",
    {
        "Label": "1 name string, 2 value string",
        "Sample": "1 value double, 2 timestamp int64",
        "Exemplar": "1* labels Label, 2 value double, 3 timestamp int64",
        "Histogram": "1 count_int uint64, 3 sum double, 15 timestamp int64",
        "TimeSeries": "1* labels Label, 2* samples Sample, 3* exemplars Exemplar, 4* histograms Histogram",
        "MetricMetadata": "1 type uint32, 2 metric_family_name string, 4 help string, 5 unit string",
        "WriteRequest": "1* timeseries TimeSeries, 3* metadata MetricMetadata",
    },
)
WriteRequest = PROMETHEUS["WriteRequest"]


def shuffled(payload: bytes, chance: Any, messages: frozenset[tuple[int, ...]], path: tuple[int, ...] = ()) -> bytes:
    """The same message with its fields in another order, equal numbers as they were. messages: paths of messages."""
    groups: dict[int, list[bytes]] = {}
    for n, kind, value in wire.fields(payload):
        if isinstance(value, bytes):
            body = shuffled(value, chance, messages, (*path, n)) if (*path, n) in messages else value
            groups.setdefault(n, []).append(wire.text(n, body))
        elif kind == wire.VARINT:
            groups.setdefault(n, []).append(wire.number(n, value))
        else:
            groups.setdefault(n, []).append(
                wire.varint(n << 3 | kind) + value.to_bytes(8 if kind == 1 else 4, "little")
            )
    queue = [n for n, some in groups.items() for _ in some]
    chance.shuffle(queue)
    return b"".join(groups[n].pop(0) for n in queue)
