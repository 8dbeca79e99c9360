"""The config file: TOML text to checked options, with every mistake told at once, by line."""

from almenara.config.load import Config, Mistake, load
from almenara.config.schema import Agent, Data, Http, Mqtt, Plugin, Publish, Rule, Site, is_loopback, split_address

__all__ = [
    "Agent",
    "Config",
    "Data",
    "Http",
    "Mistake",
    "Mqtt",
    "Plugin",
    "Publish",
    "Rule",
    "Site",
    "is_loopback",
    "load",
    "split_address",
]
