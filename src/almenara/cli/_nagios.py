"""`almenara help nagios`: the lines that make Nagios, Naemon or Icinga hand perfdata to a hub, on both sides."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

from almenara.model.errors import AlmenaraError

#: Where the main configuration of each stands, and where further objects are read from, as Debian packages them.
FILES = {
    "nagios4": ("/etc/nagios4/nagios.cfg", "/etc/nagios4/conf.d/almenara.cfg", "nagios"),
    "naemon": ("/etc/naemon/naemon.cfg", "/etc/naemon/conf.d/almenara.cfg", "naemon"),
    "icinga": ("/etc/icinga/icinga.cfg", "/etc/icinga/objects/almenara.cfg", "nagios"),
    "icinga2": ("/etc/icinga2/features-available/perfdata.conf", "", "nagios"),
}
SPOOL = "/var/spool/almenara/nagios"
INTERVAL_S = 5

# Those of pnp4nagios, with the time that checks took, so that one file can serve both.
_SERVICE = (
    r"DATATYPE::SERVICEPERFDATA\tTIMET::$TIMET$\tHOSTNAME::$HOSTNAME$\tSERVICEDESC::$SERVICEDESC$"
    r"\tSERVICEPERFDATA::$SERVICEPERFDATA$\tSERVICECHECKCOMMAND::$SERVICECHECKCOMMAND$\tHOSTSTATE::$HOSTSTATE$"
    r"\tHOSTSTATETYPE::$HOSTSTATETYPE$\tSERVICESTATE::$SERVICESTATE$\tSERVICESTATETYPE::$SERVICESTATETYPE$"
    r"\tSERVICEEXECUTIONTIME::$SERVICEEXECUTIONTIME$\tSERVICELATENCY::$SERVICELATENCY$"
)
_HOST = (
    r"DATATYPE::HOSTPERFDATA\tTIMET::$TIMET$\tHOSTNAME::$HOSTNAME$\tHOSTPERFDATA::$HOSTPERFDATA$"
    r"\tHOSTCHECKCOMMAND::$HOSTCHECKCOMMAND$\tHOSTSTATE::$HOSTSTATE$\tHOSTSTATETYPE::$HOSTSTATETYPE$"
    r"\tHOSTEXECUTIONTIME::$HOSTEXECUTIONTIME$\tHOSTLATENCY::$HOSTLATENCY$"
)


def blocks(system: str, spool: str) -> dict[str, str]:
    """File (or "shell") -> lines to put into it. Raises AlmenaraError for a folder that cannot stand in them."""
    if not re.fullmatch(r"(/[\w.+@-]+)+", spool) or ".." in PurePosixPath(spool).parts:
        raise AlmenaraError(f"--spool: found {spool!r}, expected an absolute path without spaces, such as {SPOOL}")
    main, objects, user = FILES[system]
    shell = f'sudo install -d -o {user} -g "$(id -gn)" -m 2770 {spool}'
    toml = f'[transports.nagios]\nspool = "{spool}"'
    if system == "icinga2":
        return {"shell": f"{shell}\nsudo icinga2 feature enable perfdata", main: _icinga2(spool), "hub.toml": toml}
    return {"shell": shell, main: _main(spool), objects: _commands(spool), "hub.toml": toml}


def text(system: str, spool: str) -> str:
    """All of it, with a heading over each block; every block can be pasted as it stands."""
    about = {
        "shell": "as the user that the hub runs as; the hub must be able to delete files there",
        FILES[system][0]: "in place of what stands there" if system == "icinga2" else "at its end",
        "hub.toml": "of the hub, which begins with `version = 1`; then almenara up --config hub.toml",
    }
    parts = []
    for file, lines in blocks(system, spool).items():
        about_file = about.get(file, "a new file")
        parts.append(f"# ---- {file} ---- {about_file}\n\n{lines}\n")
    return "\n".join(parts)


def _main(spool: str) -> str:
    lines = ["process_performance_data=1"]
    for kind, template in (("service", _SERVICE), ("host", _HOST)):
        lines += [
            f"{kind}_perfdata_file={spool}/{kind}-perfdata",
            f"{kind}_perfdata_file_template={template}",
            f"{kind}_perfdata_file_mode=a",
            f"{kind}_perfdata_file_processing_interval={INTERVAL_S}",
            f"{kind}_perfdata_file_processing_command=almenara-{kind}-perfdata",
        ]
    return "\n".join(lines)


def _commands(spool: str) -> str:
    # A name that is there already, as after a restart within the second, is kept beside the new one.
    return "\n".join(
        f"define command {{\n    command_name almenara-{kind}-perfdata\n"
        f"    command_line /bin/mv --backup=numbered {spool}/{kind}-perfdata {spool}/{kind}-perfdata.$TIMET$\n}}"
        for kind in ("service", "host")
    )


def _icinga2(spool: str) -> str:
    lines = ['object PerfdataWriter "perfdata" {']
    for kind in ("host", "service"):
        lines.append(f"  {kind}_perfdata_path = {json.dumps(f'{spool}/{kind}-perfdata')}")
        lines.append(f"  {kind}_temp_path = {json.dumps(f'{spool}/{kind}-perfdata')}")
    return "\n".join([*lines, f"  rotation_interval = {INTERVAL_S}s", "}"])
