"""Names for the values of the fixture rows, so that runs on two databases give the same text.

An id, a digest or a text of a fixture row is written as ``{table.column of row set}``, a time as
its distance from the start of the transaction, and every random value as its kind (``new id``,
``bytes``). Everything else is compared as it is.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from neurant.verify.rows import OTHER, TWIN_OF, Fixture
from neurant.verify.values import MARK
from neurant.verify.watch import Change, Result

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BYTES = re.compile(r"\\x([0-9a-f]{16,})")
_HEX = re.compile(r"\b[0-9a-f]{32,}\b")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00(?::00)?|Z)?")
_DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b(?!T)")
_MARKED = re.compile(
    r"(?:https://neurant\.example/)?"
    + re.escape(MARK)
    + r"(?:/\d+|[-\w]*(?:[.@][\w.]+)?)|\b[a-t]_verify"
)
_KEPT = re.compile(r"2026-01-01|2099-01-01|20[0-9][0-9]-(?:01|02|03)-0[1-5]T1[0-9]:00:00")
_CODE = re.compile(r" [0-9a-f]{4}$")  # the end of a visitor's id, shown after the name
_KEYED = re.compile(r"'[^'\s]{4}(?=(?:manzan|verif))")  # a word under the company's random key
_BY_THE_DATE = {"monthly_anchor_day"}
_LONG = 160
# The server counts these numbers or derives them from the clock, so they are not compared.
_NUMBERED = {
    ("public.usage_slots", "slot"),
    ("public.system_metrics", "value"),  # the size of the database
    ("public.conversations", "session_duration_minutes"),  # depends on the clock
    ("public.conversations", "last_message_slot"),  # the clock's ten minutes
    ("public.analytics_daily", "hitl_resolution_time_minutes"),  # depends on the clock
    ("public.companies", "monthly_anchor_day"),  # the day of the run
    ("public.message_changes", "id"),
    ("public.analytics_dirty", "id"),
    ("public.knowledge_uses", "id"),
    ("jobs.procrastinate_jobs", "id"),
    ("jobs.procrastinate_events", "id"),
    ("jobs.procrastinate_events", "job_id"),
}

# The error names one of several foreign keys, by the order of their creation, which differs in a
# restored database.
_FOREIGN_KEY = re.compile(r'violates foreign key constraint "\w+"( on table "\w+")?')


class Symbols:
    """The names of the values of one fixture."""

    def __init__(self, fixture: Fixture, now: datetime, fixtures: Mapping[str, str]) -> None:
        self.fixture = fixture
        self.now = now
        self.names: dict[str, str] = {}
        self.row_sets: dict[tuple[str, str], str] = {}
        for table, rows in fixture.rows.items():
            for row_set, row in rows.items():
                self._know(table, row_set, row)
        for (company, person), row in fixture.people.items():
            tag = person if company != OTHER else f"{OTHER}-{person}"
            # The twin has the same id as the person of the own company.
            if company != OTHER or person not in TWIN_OF.values():
                self.names[str(row["id"])] = f"user {tag}"
            self.names[str(fixture.logins[company, person])] = f"login {tag}"
        for company, id_ in fixture.companies.items():
            self.names[str(id_)] = company
        for row_set, row in fixture.rows["public.login_sessions"].items():
            self.names[str(row["auth_session_id"])] = f"auth_sessions {row_set}"
        self.names.update(fixtures)

    def _know(self, table: str, row_set: str, row: Mapping[str, Any]) -> None:
        plain = table.removeprefix("public.")
        known = self.fixture.catalog.tables[table]
        linked = {name for key in known.keys for name in key.columns}
        for column, value in row.items():
            named = f"{plain}.{column} {row_set}"
            if isinstance(value, uuid.UUID):
                if column not in linked and column != known.company:
                    self.names.setdefault(str(value), f"{plain} {row_set}")
            elif isinstance(value, bytes) and len(value) >= 8:
                self.names.setdefault("\\x" + value.hex(), named)
                self.names.setdefault(value.hex(), named)
            elif isinstance(value, str) and MARK in value:
                self.names.setdefault(value, named)
        self.row_sets[table, _key(row, known.key)] = row_set

    def text(self, value: str) -> str:
        """Return the text with every known or recognised value replaced by its name."""
        if value in self.names:
            return f"<{self.names[value]}>"
        value = _MARKED.sub(lambda m: f"<{self.names.get(m[0], 'mark')}>", value)
        value = _UUID.sub(lambda m: f"<{self.names.get(m[0], 'new id')}>", value)
        value = _BYTES.sub(lambda m: f"<{self.names.get(m[0], f'{len(m[1]) // 2} bytes')}>", value)
        value = _HEX.sub(lambda m: f"<{self.names.get(m[0], f'{len(m[0])} hex')}>", value)
        value = _MOMENT.sub(self._moment, value)
        value = _DAY.sub(self._day, value)
        value = _KEYED.sub("'<key>", _CODE.sub(" <code>", value))
        return value if len(value) <= _LONG else f"{value[:_LONG]}… ({len(value)})"

    def _moment(self, match: re.Match[str]) -> str:
        text = match[0]
        if _KEPT.match(text):
            return text.removesuffix("+00:00").removesuffix(":00")
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment.microsecond == 0 != self.now.microsecond:
            # It was truncated to seconds, minutes or a day, so its distance depends on the clock.
            return "<a round moment>"
        return f"<{_distance(moment - self.now)}>"

    def _day(self, match: re.Match[str]) -> str:
        if _KEPT.match(match[0]):
            return match[0]
        try:
            day = date.fromisoformat(match[0])
        except ValueError:
            return match[0]
        return "<today>" if day == self.now.date() else "<a day>"

    def of(self, value: object) -> object:
        """Return a JSON value with its texts replaced.

        A list is sorted, because its order is arbitrary.
        """
        if isinstance(value, str):
            if value[:1] in "{[" and value != "{}":
                try:
                    return json.dumps(self.of(json.loads(value)), ensure_ascii=False)
                except ValueError:
                    pass
            return self.text(value)
        if isinstance(value, list):
            told = [self.of(one) for one in value]
            return sorted(told, key=lambda one: json.dumps(one, ensure_ascii=False, sort_keys=True))
        if isinstance(value, dict):
            return {
                self.text(name): "<today's>" if name in _BY_THE_DATE else self.of(one)
                for name, one in value.items()
            }
        return value

    def lines(self, result: Result) -> list[str]:
        """Return the result of a trial, line by line: refused, or returned, set and changed."""
        if result.broken:
            return [f"! {self.text(result.broken)}"]
        if result.state is not None:
            message = _FOREIGN_KEY.sub("violates a foreign key", result.message)
            return [f"x {result.state} {self.text(message)}"]
        told = [f"= {_json(self.of(result.value))}"]
        for name, value in sorted(result.settings.items()):
            told.append(f"s {name} {_json(self.of(value))}")
        for table, change in result.changes.items():
            told += sorted(self._changed(table, change))
        return told

    def _changed(self, table: str, change: Change) -> list[str]:
        known = self.fixture.catalog.tables[table]
        plain = table.removeprefix("public.")
        old = {_key(row, known.key): row for row in change.old}
        new = {_key(row, known.key): row for row in change.new}
        told = []
        for place in old.keys() | new.keys():
            before, after = old.get(place), new.get(place)
            row = after or before or {}
            whose = self._whose(table, row)
            if before is None:
                values = {c: v for c, v in row.items() if v is not None and c != known.company}
                told.append(f"+ {plain} {whose}: {self._columns(table, values)}")
            elif after is None:
                told.append(f"- {plain} {whose}")
            else:
                moved = {c: v for c, v in after.items() if v != before.get(c)}
                told.append(f"~ {plain} {whose}: {self._columns(table, moved, before)}")
        return told

    def _whose(self, table: str, row: Mapping[str, Any]) -> str:
        known = self.fixture.catalog.tables[table]
        row_set = self.row_sets.get((table, _key(row, known.key)))
        if row_set is not None:
            return row_set
        company = known.company
        return str(self.of(row.get(company))) if company else "one"

    def _columns(
        self, table: str, values: Mapping[str, Any], before: Mapping[str, Any] | None = None
    ) -> str:
        told = []
        for name, value in values.items():
            if (table, name) in _NUMBERED:
                continue
            new = _json(self.of(value))
            told.append(
                f"{name} {_json(self.of(before[name]))} -> {new}" if before else f"{name} {new}"
            )
        return "; ".join(told)


def _key(row: Mapping[str, Any], columns: Any) -> str:
    return "|".join(
        "\\x" + row[name].hex() if isinstance(row[name], bytes) else str(row[name])
        for name in columns
        if name in row
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _distance(apart: timedelta) -> str:
    """Return the distance from the start of the transaction, exact or approximate.

    A distance that is not a whole number of minutes comes from the clock, up to an hour later.
    """
    if apart % timedelta(minutes=1):
        days, rest = divmod(apart, timedelta(days=1))
        if rest < timedelta(hours=1):
            return "by the clock" + (f" {days:+} days" if days else "")
        return "some time"
    days, rest = divmod(abs(apart), timedelta(days=1))
    sign = "-" if apart < timedelta(0) else "+"
    if not apart:
        return "now"
    if rest:
        return f"now {sign} {abs(apart) // timedelta(minutes=1)} minutes"
    return f"now {sign} {'a month' if 28 <= days <= 31 else f'{days} days'}"
