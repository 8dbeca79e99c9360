"""InfluxQL, the query language of InfluxDB 1.x: the part that Grafana's query builder and dashboards use, over series.

    parse(text) -> statements        answer(statement, source, now_ns) -> tables

What it leaves out says so by name: subqueries, INTO, DROP and DELETE, predictions. Source:
https://docs.influxdata.com/influxdb/v1/query_language/.
"""

from __future__ import annotations

from almenara.query.influxql.answer import Table, plain
from almenara.query.influxql.names import Names, Source
from almenara.query.influxql.parse import parse
from almenara.query.influxql.select import select
from almenara.query.influxql.show import show
from almenara.query.influxql.syntax import CreateDatabase, Select, Show, Statement

__all__ = ["CreateDatabase", "Names", "Select", "Show", "Source", "Statement", "Table", "answer", "parse", "plain"]


def answer(statement: Statement, source: Source, now_ns: int) -> list[Table]:
    """The tables of one statement. Raises QueryError in InfluxDB's words, QueryTooLarge past a limit."""
    if isinstance(statement, CreateDatabase):
        source.create_database(statement.name)
        return []
    names = source.names()
    if isinstance(statement, Show):
        return show(statement, names, source)
    return select(statement, names, source, now_ns)
