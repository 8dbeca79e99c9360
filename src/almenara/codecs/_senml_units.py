"""What SenML units measure (the IANA registry "SenML Units"), to name records that only say their device and unit."""

from __future__ import annotations

#: Unit -> name of the quantity.
QUANTITY = {
    "m": "length", "kg": "mass", "g": "mass", "s": "time", "min": "time", "h": "time", "A": "current",
    "K": "temperature", "Cel": "temperature", "Hz": "frequency", "N": "force", "Pa": "pressure", "hPa": "pressure",
    "J": "energy", "kWh": "energy", "Wh": "energy", "W": "power", "kW": "power", "VA": "apparent_power",
    "VAr": "reactive_power", "C": "charge", "F": "capacitance", "V": "voltage", "mV": "voltage", "Ohm": "resistance",
    "S": "conductance", "Wb": "magnetic_flux", "T": "magnetic_flux_density", "H": "inductance",
    "lm": "luminous_flux", "lx": "illuminance", "Bq": "radioactivity", "Gy": "absorbed_dose", "Sv": "dose_equivalent",
    "m2": "area", "m3": "volume", "l": "volume", "m/s": "velocity", "km/h": "velocity", "m/s2": "acceleration",
    "m3/s": "flow_rate", "l/s": "flow_rate", "W/m2": "irradiance", "cd/m2": "luminance", "bit": "storage",
    "bit/s": "data_rate", "lat": "latitude", "lon": "longitude", "pH": "ph", "dB": "sound_level", "dBW": "power_level",
    "dBm": "signal_power", "count": "count", "/": "ratio", "%": "percentage", "%RH": "humidity", "%EL": "battery_level",
    "EL": "battery_seconds", "1/s": "event_rate", "1/min": "event_rate", "beat/min": "heart_rate",
    "beats": "heart_beats", "S/m": "conductivity", "B": "storage", "ppm": "concentration", "ug/m3": "concentration",
}  # fmt: skip
