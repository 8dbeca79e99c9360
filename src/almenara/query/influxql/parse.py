"""InfluxQL's statements from text: recursive descent over `tokens`, into the tree of `syntax`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from almenara.model.errors import NotSupported, QuerySyntax
from almenara.query.influxql.syntax import (
    Binary,
    Bool,
    Call,
    CreateDatabase,
    Cut,
    Duration,
    Expr,
    Field,
    Groups,
    Measurement,
    Number,
    Ref,
    Regex,
    Select,
    Show,
    Star,
    Statement,
    Text,
)
from almenara.query.influxql.tokens import Token, bound_token, duration_ns, place, tokens_of

#: Statements of one request, and brackets inside brackets.
MAX_STATEMENTS, MAX_DEPTH = 100, 50

_LEVELS: tuple[tuple[str, ...], ...] = (
    ("OR",),
    ("AND",),
    ("=", "!=", "<>", "=~", "!~", "<", "<=", ">", ">="),
    ("+", "-", "|", "^"),
    ("*", "/", "%", "&"),
)
#: Words that end an expression, so that they are no alias and no name.
_RESERVED = ("from", "where", "group", "order", "limit", "offset", "slimit", "soffset", "fill", "as", "and", "or", "tz")
_SHOWS = (
    "MEASUREMENT", "MEASUREMENTS", "TAG", "FIELD", "SERIES", "RETENTION", "DATABASES",
)  # fmt: skip
_NOT_YET = {
    "drop", "delete", "alter", "grant", "revoke", "kill", "explain", "set", "create",
}  # fmt: skip


def parse(query: str, bound: Mapping[str, object] | None = None) -> list[Statement]:
    """The statements of a request. bound: values of `$name`. Raises QuerySyntax in InfluxDB's words, NotSupported."""
    return _Parser(query, bound or {}).statements()


class _Parser:
    def __init__(self, query: str, bound: Mapping[str, object]):
        self.query = query
        self.tokens = [bound_token(t, bound) if t.kind == "bound" else t for t in tokens_of(query)]
        self.at = self.depth = 0

    # --- tokens

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.here
        self.at += token.kind != "end"
        return token

    def taken(self, *wanted: str) -> bool:
        """Take a keyword, or a sign, if it is next."""
        if self.here.is_word(*wanted) or (self.here.kind == "sign" and self.here.text in wanted):
            self.at += 1
            return True
        return False

    def need(self, *wanted: str) -> None:
        if not self.taken(*wanted):
            raise self.unexpected(", ".join(w.upper() for w in wanted))

    def unexpected(self, expected: str) -> QuerySyntax:
        token = self.here
        return QuerySyntax(
            f"error parsing query: found {token.text[:40]}, expected {expected} {place(self.query, token.at)}"
        )

    def name(self) -> str:
        if self.here.kind != "name" or self.here.is_word(*_RESERVED):
            raise self.unexpected("identifier")
        return self.take().text

    def whole(self) -> int:
        if self.here.kind != "number" or not self.here.text.isascii() or not self.here.text.isdigit():
            raise self.unexpected("integer")
        return int(self.take().text[:18])

    def listed(self, one: Callable[[], object]) -> list[object]:
        found = [one()]
        while self.taken(","):
            found.append(one())
        return found

    # --- statements

    def statements(self) -> list[Statement]:
        found: list[Statement] = []
        while self.here.kind != "end":
            if self.taken(";"):
                continue
            found.append(self.statement())
            if self.here.kind != "end":
                self.need(";")
        if len(found) > MAX_STATEMENTS:
            raise QuerySyntax(f"error parsing query: found {len(found)} statements, expected at most {MAX_STATEMENTS}")
        return found

    def statement(self) -> Statement:
        if self.taken("select"):
            return self.select()
        if self.taken("show"):
            return self.show()
        if self.here.is_word(*_NOT_YET):
            words = [t.text for t in self.tokens[self.at : self.at + 2]]
            if words[0].lower() == "create" and words[-1].lower() == "database":
                self.at += 2
                return self.create_database()
            raise NotSupported(f"{' '.join(words).upper()} is not supported yet")
        raise self.unexpected("SELECT, SHOW, CREATE")

    def create_database(self) -> CreateDatabase:
        name = self.name()
        if self.taken("with"):  # retention is set in the hub's configuration; what is asked for here changes nothing
            while self.here.kind != "end" and self.here.text != ";":
                self.take()
        return CreateDatabase(name)

    def select(self) -> Select:
        fields = tuple(self.listed(self.field))
        if self.here.is_word("into"):
            raise NotSupported("SELECT ... INTO is not supported yet")
        self.need("from")
        sources = self.sources()
        where = self.expr() if self.taken("where") else None
        groups = self.groups()
        if self.taken("fill"):
            groups = replace(groups, fill=self.fill())
        descending = self.order()
        cut = self.cut()
        zone = self.zone() if self.taken("tz") else ""
        return Select(fields, sources, where, groups, descending, cut, zone)  # type: ignore[arg-type]

    def show(self) -> Show:
        what, kinds = self.shown()
        database = self.name() if self.taken("on") else ""
        wanted = None
        if what.startswith("measurements") and self.taken("with"):
            self.need("measurement")
            wanted = self.compared()
        sources = self.sources() if kinds and self.taken("from") else ()
        if what.startswith("tag values"):
            self.need("with")
            self.need("key")
            wanted = self.compared()
        where = self.expr() if kinds and self.taken("where") else None
        self.order()
        return Show(what, database, sources, where, wanted, self.cut())

    def shown(self) -> tuple[str, bool]:
        """What is to be shown, and whether it may have FROM and WHERE."""
        if self.taken("databases"):
            return "databases", False
        if self.taken("retention"):
            self.need("policies")
            return "retention policies", False
        exact = ""
        if self.taken("measurements"):
            return "measurements", True
        if self.taken("measurement"):
            what = "measurements"
        elif self.taken("series"):
            what = "series"
        elif self.taken("tag"):
            what = "tag values" if self.taken("values") else "tag keys"
            exact = "" if what == "tag values" else "keys" if self.taken("keys") else "key"
        elif self.taken("field"):
            what, exact = "field keys", "keys" if self.taken("keys") else "key"
        else:
            raise NotSupported(f"SHOW {self.here.text.upper()} is not supported yet; there are {', '.join(_SHOWS)}")
        if exact == "key":
            self.need("key")
        self.taken("exact")
        if self.taken("cardinality"):
            return f"{what} cardinality", True
        if exact == "key" or what == "measurements":
            raise self.unexpected("CARDINALITY")
        return what, True

    def compared(self) -> tuple[str, Regex | tuple[str, ...]]:
        """What follows WITH MEASUREMENT and WITH KEY."""
        if self.taken("in"):
            self.need("(")
            names = tuple(str(one) for one in self.listed(self.name))
            self.need(")")
            return "=", names
        if self.taken("=", "!=", "<>"):
            op = self.tokens[self.at - 1].text.replace("<>", "!=")
            return op, (self.name(),)
        if self.taken("=~", "!~"):
            op = self.tokens[self.at - 1].text
            return "=" if op == "=~" else "!=", self.pattern()
        raise self.unexpected("=, !=, =~, !~, IN")

    def pattern(self) -> Regex:
        if self.here.kind != "pattern":
            raise self.unexpected("regex")
        return Regex(self.take().text)

    # --- clauses

    def sources(self) -> tuple[Measurement, ...]:
        return tuple(self.listed(self.source))  # type: ignore[arg-type]

    def source(self) -> Measurement:
        if self.here.text == "(":
            raise NotSupported("subqueries are not supported yet")
        parts: list[str] = []
        while True:
            if self.here.kind == "pattern":
                name: str | Regex = self.pattern()
                break
            if self.here.text == "." and self.here.kind == "sign":  # "db"..cpu
                parts.append("")
            else:
                parts.append(self.name())
            if not self.taken("."):
                name = parts.pop()
                break
        if len(parts) > 2:
            raise self.unexpected("at most database.policy.measurement")
        parts = ["", ""][len(parts) :] + parts
        return Measurement(name, *parts)

    def groups(self) -> Groups:
        if not self.taken("group"):
            return Groups()
        self.need("by")
        every_ns = offset_ns = 0
        tags: list[Ref | Star | Regex] = []
        for one in self.listed(self.group):
            if not isinstance(one, Call):
                tags.append(one)  # type: ignore[arg-type]
                continue
            if every_ns:
                raise QuerySyntax("error parsing query: multiple time dimensions not allowed")
            every_ns, offset_ns = _interval(one)
        return Groups(every_ns, offset_ns, tuple(tags))

    def group(self) -> Call | Ref | Star | Regex:
        found = self.operand()
        if isinstance(found, Call) and found.name != "time":
            raise QuerySyntax("error parsing query: only time() calls allowed in dimensions")
        if not isinstance(found, Call | Ref | Star | Regex):
            raise QuerySyntax("error parsing query: only time and tag dimensions allowed")
        return found

    def fill(self) -> str | float:
        self.need("(")
        negative = self.taken("-")
        token = self.take()
        self.need(")")
        if token.kind == "number":
            return -float(token.text) if negative else float(token.text)
        if token.is_word("null", "none", "previous", "linear") and not negative:
            return token.text.lower()
        raise QuerySyntax("error parsing query: fill requires an argument, e.g.: 0, null, none, previous, linear")

    def order(self) -> bool:
        """Whether the newest come first."""
        if not self.taken("order"):
            return False
        self.need("by")
        if self.taken("desc"):
            return True
        if not self.taken("asc"):
            if not self.here.is_word("time") and self.here.text != "time":
                raise QuerySyntax("error parsing query: only ORDER BY time supported at this time")
            self.take()
            return self.taken("desc") or (self.taken("asc") and False)
        return False

    def cut(self) -> Cut:
        found: dict[str, int] = {}
        for word in ("limit", "offset", "slimit", "soffset"):
            if self.taken(word):
                found[word] = self.whole()
        return Cut(**found)

    def zone(self) -> str:
        self.need("(")
        if self.here.kind != "text":
            raise self.unexpected("string")
        name = self.take().text
        self.need(")")
        return name

    # --- expressions

    def field(self) -> Field:
        expr = self.level(3)
        if self.taken("as"):
            return Field(expr, self.name())
        return Field(expr)

    def expr(self) -> Expr:
        return self.level(0)

    def level(self, n: int) -> Expr:
        if n == len(_LEVELS):
            return self.operand()
        left = self.level(n + 1)
        while True:
            op = self.here.text.upper()
            is_word = self.here.is_word("and", "or")
            if op not in _LEVELS[n] or not (is_word or self.here.kind == "sign"):
                return left
            self.take()
            left = Binary("!=" if op == "<>" else op, left, self.level(n + 1))

    def operand(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise QuerySyntax(f"error parsing query: more than {MAX_DEPTH} brackets inside brackets")
        try:
            return self.operand_()
        finally:
            self.depth -= 1

    def operand_(self) -> Expr:
        token = self.here
        if self.taken("("):
            inside = self.expr()
            self.need(")")
            return inside
        if self.taken("-", "+"):
            inside = self.operand()
            if token.text == "+":
                return inside
            if isinstance(inside, Number):
                return Number(-inside.value)
            return Duration(-inside.ns) if isinstance(inside, Duration) else Binary("*", Number(-1), inside)
        if self.taken("*"):
            return Star(self.cast())
        if token.kind == "name":
            return self.named()
        self.at += token.kind in ("number", "duration", "text", "pattern")
        if token.kind == "number":
            return Number(int(token.text) if token.text.isdigit() else float(token.text))
        if token.kind == "duration":
            return Duration(duration_ns(token.text))
        if token.kind == "text":
            return Text(token.text)
        if token.kind == "pattern":
            return Regex(token.text)
        raise self.unexpected("identifier, string, number, bool")

    def named(self) -> Expr:
        token = self.here
        if token.is_word("true", "false"):
            self.take()
            return Bool(token.text.lower() == "true")
        if token.is_word("distinct") and self.tokens[self.at + 1].kind == "name":
            self.take()
            return Call("distinct", (Ref(self.name()),))
        name = self.name()
        if token.quoted or not self.taken("("):
            return Ref(name, self.cast())
        args = () if self.here.text == ")" else tuple(self.listed(lambda: self.level(3)))
        self.need(")")
        return Call(name.lower(), args)  # type: ignore[arg-type]

    def cast(self) -> str:
        return self.name().lower() if self.taken("::") else ""


def _interval(call: Call) -> tuple[int, int]:
    """(every_ns, offset_ns) of `time(every, offset)`."""
    if not 1 <= len(call.args) <= 2:
        raise QuerySyntax("error parsing query: time dimension expected 1 or 2 arguments")
    every = call.args[0]
    if not isinstance(every, Duration) or every.ns <= 0:
        raise QuerySyntax("error parsing query: time dimension must have duration argument")
    if len(call.args) == 1:
        return every.ns, 0
    offset = call.args[1]
    if not isinstance(offset, Duration):
        raise NotSupported("an offset of time() that is no duration is not supported yet")
    return every.ns, offset.ns % every.ns
