"""iCalendar files: what recurs, what is left out, moved or cancelled, whole days and times of any zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from almenara.analysis.ical import read, spans

MADRID = ZoneInfo("Europe/Madrid")
FIRST, LAST = date(2026, 1, 1), date(2027, 1, 1)


def calendar(*events: str) -> bytes:
    body = "".join(f"BEGIN:VEVENT\nUID:{n}\n{event}\nEND:VEVENT\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{body}END:VCALENDAR\n".encode()


def begins(*events: str) -> list[str]:
    return [f"{begin:%m-%d %H:%M}" if isinstance(begin, datetime) else f"{begin:%m-%d}"
            for begin, _ in spans(calendar(*events), FIRST, LAST)]  # fmt: skip


def test_whole_days_are_dates_and_end_where_the_next_begins() -> None:
    events = ("DTSTART;VALUE=DATE:20260801\nDTEND;VALUE=DATE:20260815", "DTSTART;VALUE=DATE:20260303")
    assert spans(calendar(*events), FIRST, LAST) == [
        (date(2026, 3, 3), date(2026, 3, 4)),
        (date(2026, 8, 1), date(2026, 8, 15)),
    ]


def test_a_recurring_event_keeps_its_wall_clock_when_clocks_change() -> None:
    found = spans(
        calendar("DTSTART;TZID=Europe/Madrid:20260322T020000\nDURATION:PT2H\nRRULE:FREQ=WEEKLY;COUNT=3"), FIRST, LAST
    )
    assert [begin for begin, _ in found] == [
        datetime(2026, 3, 22, 1, tzinfo=UTC),
        datetime(2026, 3, 29, 1, tzinfo=UTC),  # 02:00 does not exist that night: it is the moment of 03:00
        datetime(2026, 4, 5, 0, tzinfo=UTC),
    ]
    assert {end - begin for begin, end in found} == {timedelta(hours=2)}


def test_exceptions_and_additions_count() -> None:
    event = (
        "DTSTART;TZID=Europe/Madrid:20260104T020000\nDTEND;TZID=Europe/Madrid:20260104T040000\n"
        "RRULE:FREQ=WEEKLY;BYDAY=SU;UNTIL=20260201T010000Z\n"
        "EXDATE;TZID=Europe/Madrid:20260111T020000\nEXDATE:20260118T010000Z\nRDATE;TZID=Europe/Madrid:20260113T020000"
    )
    assert begins(event) == ["01-04 01:00", "01-13 01:00", "01-25 01:00", "02-01 01:00"]


def test_a_moved_occurrence_is_where_it_was_moved_to_and_a_cancelled_one_nowhere() -> None:
    text = calendar("DTSTART:20260105T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=4").decode()
    more = (
        "BEGIN:VEVENT\nUID:0\nRECURRENCE-ID:20260106T100000Z\nDTSTART:20260106T150000Z\nDURATION:PT1H\nEND:VEVENT\n"
        "BEGIN:VEVENT\nUID:0\nRECURRENCE-ID:20260107T100000Z\nDTSTART:20260107T100000Z\nSTATUS:CANCELLED\nEND:VEVENT\n"
    )
    found = spans(text.replace("END:VCALENDAR", more + "END:VCALENDAR").encode(), FIRST, LAST)
    assert [f"{begin:%d %H}" for begin, _ in found] == ["05 10", "06 15", "08 10"]


def test_until_a_date_holds_to_its_end() -> None:
    assert begins("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=MONTHLY;UNTIL=20260301") == ["01-01", "02-01", "03-01"]
    assert begins("DTSTART:20260101T120000\nRRULE:FREQ=MONTHLY;UNTIL=20260301") == [
        "01-01 12:00", "02-01 12:00", "03-01 12:00",
    ]  # fmt: skip


def test_events_that_began_before_go_on_into_the_years_asked_for() -> None:
    assert begins("DTSTART;VALUE=DATE:20010704\nRRULE:FREQ=YEARLY") == ["07-04"]


def test_times_without_a_zone_are_the_sites() -> None:
    assert spans(calendar("DTSTART:20260105T100000\nDURATION:PT1H"), FIRST, LAST) == [
        (datetime(2026, 1, 5, 10), datetime(2026, 1, 5, 11))
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("SUMMARY:lunch", "the event 'lunch' has no DTSTART"),
        ("DTSTART:2026", "DTSTART of the event '0': "),
        ("DTSTART:20260101T000000\nRRULE:FREQ=WEEKLEY", "RRULE of the event '0': "),
        ("DTSTART:20260101T000000Z\nRRULE:FREQ=SECONDLY", "FREQ is SECONDLY, expected one of DAILY"),
        ("DTSTART:20260102T000000Z\nDTEND:20260101T000000Z", "ends before it begins"),
    ],
)
def test_what_cannot_be_used_is_named(event: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        spans(calendar(event), FIRST, LAST)
    assert message in str(caught.value)


def test_a_file_is_named_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no\.ics cannot be read: No such file or directory"):
        read(tmp_path / "no.ics", FIRST, LAST)
    path = tmp_path / "x.ics"
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"x\.ics is no iCalendar file that can be used: "):
        read(path, FIRST, LAST)
    path.write_bytes(b" " * 10_000_001)
    with pytest.raises(ValueError, match="is larger than 10000000 bytes"):
        read(path, FIRST, LAST)
    path.write_bytes(calendar("DTSTART:20260105T100000\nDURATION:PT1H"))
    assert len(read(path, FIRST, LAST)) == 1
