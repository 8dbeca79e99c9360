"""Names and kinds of the values of collectd's types, from its `types.db`; the binary protocol does not carry them.

Built in are the types of collectd 5.12 that have several values, or one that is not called `value`; every other type
has one value. Types of your own come from a file in the same form.
"""

from __future__ import annotations

from pathlib import Path

from almenara.model.errors import ConfigError, Problem

_BUILT_IN = """
arc_counts demand_data demand_metadata prefetch_data prefetch_metadata
arc_l2_bytes read write
arc_size current target minlimit maxlimit
compression uncompressed compressed
df used free
disk_io_time io_time weighted_io_time
disk_latency read write
disk_merged read write
disk_octets read write
disk_ops read write
disk_time read write
dns_octets queries responses
domain_state state reason
duration seconds
ib_octets rx tx
ib_packets rx tx
if_dropped rx tx
if_errors rx tx
if_octets rx tx
if_packets rx tx
io_octets rx tx
io_ops read write
io_packets rx tx
load shortterm midterm longterm
memcached_octets rx tx
mysql_octets rx tx
mysql_qcache hits inserts not_cached lowmem_prunes queries_in_cache
mysql_threads running connected cached created
node_octets rx tx
ps_count processes threads
ps_cputime user syst
ps_disk_octets read write
ps_disk_ops read write
ps_pagefaults minflt majflt
serial_octets rx tx
smart_attribute current worst threshold pretty
vf_broadcast vf_value
vf_bytes vf_rx vf_tx
vf_dropped vf_rx vf_tx
vf_link_info vf_value
vf_multicast vf_value
vf_packets vf_rx vf_tx
vmpage_faults minflt majflt
vmpage_io in out
voltage_threshold value threshold
"""

#: Type -> names of its values.
BUILT_IN: dict[str, tuple[str, ...]] = {
    name: tuple(values) for name, *values in map(str.split, _BUILT_IN.strip().splitlines())
}


def read_types(path: Path) -> dict[str, tuple[str, ...]]:
    """The types of a file such as /usr/share/collectd/types.db. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("types_db", f"{path} cannot be read: {error}")]) from error
    found = {}
    for line in lines:
        name, *sources = line.partition("#")[0].replace(",", " ").split()[:100] or [""]
        if name:
            found[name] = tuple(source.partition(":")[0] for source in sources)
    return found
