"""Planted occasions: paydays, holidays, vacations, maintenance; a detector is told the calendar, not what it does."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np

from almenara.analysis.calendar_sources import Sources
from almenara.analysis.ical import spans
from almenara.analysis.occasions import calendar_of, from_spans, in_calendar
from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import (
    START_S,
    bump,
    business_paydays,
    day_of,
    hour_of,
    minutes,
    noise,
    rows_at,
    struck_at,
    work,
)

MADRID = "Europe/Madrid"


def payday(rng: np.random.Generator) -> Planted:
    """Three times the load on the last business day of each month, in rows of 15 minutes over 14 months. A payday
    without its peak is a fault, and so is such a peak on another day; the others are none."""
    times, m = minutes(426 * 96, 900), 2
    days = day_of(times)
    paydays = business_paydays(days)
    load = work(times) * (1 + 2 * np.isin(days, paydays))
    values = 40 + 60 * load[:, None] + 3 * noise(rng, len(times), m)
    faults = []
    for s in range(m):
        gone = int(rows_at(times, paydays[10 + s : 11 + s], 9)[0])
        other = int(rows_at(times, paydays[12:13] - 14 - s, 9)[0])
        faults.append(struck_at(times, values, s, gone, 32, lambda v: v - 120))
        faults.append(struck_at(times, values, s, other, 32, lambda v: v + 120))
    calendars = (calendar_of("payday", Sources(rule="last business day of month")),)
    return planted_of(times, values, faults, 183 * 96, calendars=calendars)


def first_of_the_month(rng: np.random.Generator) -> Planted:
    """Invoices run on the first of each month from 0 to 6 h, in rows of an hour over two years; one run is missing."""
    times, m = minutes(730 * 24, 3600), 2
    days = day_of(times)
    first = days.astype("datetime64[D]") == days.astype("datetime64[D]").astype("datetime64[M]")
    runs = first & (hour_of(times) < 6)
    values = 30 + 10 * bump(hour_of(times), 14, 4)[:, None] + 80 * runs[:, None] + 2 * noise(rng, len(times), m)
    begins = np.unique(days[first])
    faults = [
        struck_at(times, values, s, int(rows_at(times, begins[17 + s : 18 + s], 0)[0]), 6, lambda v: v - 80)
        for s in range(m)
    ]
    calendars = (calendar_of("invoices", Sources(rule="first day of month")),)
    return planted_of(times, values, faults, 365 * 24, calendars=calendars)


def vacations(rng: np.random.Generator) -> Planted:
    """Two weeks of vacation, three times in 14 months, with half the traffic; in rows of 15 minutes. Within the second
    the traffic stops for three hours; the third is called off and there is full traffic for a day."""
    times, m = minutes(426 * 96, 900), 2
    days = day_of(times)
    dates = [(np.datetime64(int(days[0]) + d, "D"), np.datetime64(int(days[0]) + d + 13, "D")) for d in (60, 200, 330)]
    calendar = calendar_of("vacation", Sources(dates=[f"{begin}/{end}" for begin, end in dates]))
    load = work(times)[:, None] * np.where(in_calendar(times, calendar), 0.5, 1.0)[:, None] * np.ones((1, m))
    values = 40 + 100 * load + 3 * noise(rng, len(times), m)
    faults = []
    for s in range(m):
        stops, full = (int(rows_at(times, [int(days[0]) + d + s], 10)[0]) for d in (204, 337))
        faults.append(struck_at(times, values, s, stops, 12, lambda v: v * 0 + 40))
        faults.append(struck_at(times, values, s, full, 28, lambda v: v + 50))
    return planted_of(times, values, faults, 100 * 96, calendars=(calendar,))


_WINDOW = b"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//planted//EN
BEGIN:VEVENT
UID:window
DTSTART;TZID=Europe/Madrid:20260113T130000
DTEND;TZID=Europe/Madrid:20260113T150000
RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU
EXDATE;TZID=Europe/Madrid:20260505T130000
END:VEVENT
END:VCALENDAR
"""


def maintenance_window(rng: np.random.Generator) -> Planted:
    """Every second Tuesday from 13 to 15 h in Madrid machines are taken down, told by an iCalendar file; rows of 5
    minutes over 24 weeks and a change of clocks. Once they go down on a Tuesday that the file excepts, once on a
    Thursday, and once they stay up."""
    times, m = minutes(168 * 288, 300), 3
    window = from_spans("maintenance", spans(_WINDOW, date(2026, 1, 1), date(2026, 12, 31)), MADRID)
    down = in_calendar(times, window)[:, None] * np.ones((1, m))
    load = 30 + 70 * work(times, MADRID)[:, None]
    values = load * (1 - down) + 2 * noise(rng, len(times), m)
    faults = []
    for s in range(m):
        excepted, thursday, stays = (
            int(rows_at(times, [int(datetime(2026, month, day, tzinfo=UTC).timestamp()) // 86_400], 13, MADRID)[0])
            for month, day in ((5, 5), (5, 14), (6, 2))
        )
        faults.append(struck_at(times, values, s, excepted, 24, lambda v: v * 0))
        faults.append(struck_at(times, values, s, thursday, 24, lambda v: v * 0))
        faults.append(struck_at(times, values, s, stays, 24, lambda v: v + 100))
    return planted_of(times, values, faults, 70 * 288, timezone=MADRID, calendars=(window,))


def holidays_of_a_country(rng: np.random.Generator) -> Planted:
    """Public holidays of Spain have a tenth of the load, less than a Sunday; rows of 15 minutes over two years. Once a
    holiday is as busy as a workday, once a workday is as quiet as a holiday."""
    times, m = minutes(730 * 96, 900, START_S), 2
    calendar = calendar_of("holidays", Sources(country="ES"), MADRID)
    on = in_calendar(times, calendar)
    load = np.where(on, 0.1 * np.minimum(1.0, work(times, MADRID, weekend=1.0)), work(times, MADRID))
    values = 40 + 100 * load[:, None] + 3 * noise(rng, len(times), m)
    faults = []
    for s in range(m):
        busy, quiet = (
            int(rows_at(times, [int(datetime(*day, tzinfo=UTC).timestamp()) // 86_400], 10, MADRID)[0])
            for day in ((2027, 10, 12), (2027, 11, 9 + s))
        )
        faults.append(struck_at(times, values, s, busy, 28, lambda v: v + 90))
        faults.append(struck_at(times, values, s, quiet, 28, lambda v: v - 90))
    return planted_of(times, values, faults, 300 * 96, timezone=MADRID, calendars=(calendar,))


CASES = (
    Case(payday, within=4, false_a_week=0.1, over=0.8),
    Case(first_of_the_month, within=2, false_a_week=0.1),
    Case(vacations, within=4, false_a_week=0.1, over=0.8),
    Case(maintenance_window, within=3, false_a_week=0.1, over=0.8),
    Case(holidays_of_a_country, within=4, false_a_week=0.1, over=0.8),
)
