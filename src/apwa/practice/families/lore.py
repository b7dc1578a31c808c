"""What the practice model knows by heart: a few lists, and some facts of the planets."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLANETS: Mapping[str, tuple[str, ...]] = {
    "Mercury": (
        "Mercury is the smallest planet and the one nearest to the Sun, at 58 million km.",
        "It goes round the Sun in 88 days and turns once in 59.",
        "It is 4,879 km wide and has no moon.",
        "With hardly any air, its ground swings from 430 °C by day to -180 °C by night.",
        "Its face is old and full of craters, much like the Moon's.",
    ),
    "Venus": (
        "Venus is the second planet from the Sun and nearly as large as Earth, 12,104 km wide.",
        "Its thick air of carbon dioxide keeps the ground at about 465 °C, the hottest of "
        "all planets.",
        "It turns backwards and so slowly that its day, 243 days, is longer than its year of 225.",
        "It has no moon, and clouds of sulphuric acid hide its plains and volcanoes.",
        "After the Moon it is the brightest thing in the night sky.",
    ),
    "Earth": (
        "Earth is the third planet from the Sun, 150 million km away, and 12,756 km wide.",
        "It is the only place known to bear life.",
        "Water covers 71 percent of its face, and its air is nitrogen and oxygen.",
        "It goes round the Sun in 365.25 days and has one large moon.",
        "Its plates of rock move, which builds mountains and opens seas.",
    ),
    "Mars": (
        "Mars is the fourth planet from the Sun, 228 million km away, and 6,792 km wide.",
        "Rust in its soil makes it red, and its thin air is carbon dioxide.",
        "It bears Olympus Mons, the highest volcano known, about 22 km high.",
        "It has two small moons, Phobos and Deimos, and a year of 687 days.",
        "Dry river beds and ice at its poles show that water once flowed there.",
    ),
    "Jupiter": (
        "Jupiter is the fifth planet from the Sun and by far the largest, 142,984 km wide.",
        "It is a giant of hydrogen and helium with no solid ground.",
        "Its Great Red Spot is a storm wider than Earth, watched for well over a century.",
        "It turns once in 10 hours and goes round the Sun in 12 years.",
        "Its four great moons, Io, Europa, Ganymede and Callisto, were seen by Galileo in 1610.",
    ),
    "Saturn": (
        "Saturn is the sixth planet from the Sun, 120,536 km wide, and known for its "
        "bright rings of ice.",
        "It is a gas giant so light that it would float on water.",
        "It goes round the Sun in 29 years and turns once in 10.7 hours.",
        "It has more known moons than any other planet; Titan, the largest, has thick air "
        "of its own.",
        "The Cassini probe circled it from 2004 to 2017.",
    ),
    "Uranus": (
        "Uranus is the seventh planet from the Sun, 2.9 billion km away, and 51,118 km wide.",
        "It is an ice giant, and methane in its air makes it blue-green.",
        "It lies on its side, so that each pole has 42 years of light and 42 of dark.",
        "William Herschel found it in 1781; only Voyager 2 has passed it, in 1986.",
        "It has faint rings and 27 or more moons, named after figures of Shakespeare and Pope.",
    ),
    "Neptune": (
        "Neptune is the eighth and farthest planet, 4.5 billion km from the Sun, and "
        "49,528 km wide.",
        "Its winds are the fastest known, up to 2,000 km/h.",
        "It was found in 1846 where sums by Le Verrier had put it.",
        "It goes round the Sun in 165 years; its largest moon, Triton, goes round it backwards.",
        "It is an ice giant of deep blue, and only Voyager 2 has passed it, in 1989.",
    ),
}

LISTS: Mapping[str, tuple[str, ...]] = {
    "planet": tuple(PLANETS),
    "continent": (
        "Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America",
    ),
    "ocean": ("Arctic Ocean", "Atlantic Ocean", "Indian Ocean", "Pacific Ocean", "Southern Ocean"),
    "month": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December",
    ),
    "season": ("Spring", "Summer", "Autumn", "Winter"),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "day of the week": (
        "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
    ),
    "primary colour": ("Red", "Yellow", "Blue"),
    "primary color": ("Red", "Yellow", "Blue"),
    "great lake": ("Superior", "Michigan", "Huron", "Erie", "Ontario"),
    "nordic country": ("Denmark", "Finland", "Iceland", "Norway", "Sweden"),
    "sense": ("Sight", "Hearing", "Smell", "Taste", "Touch"),
    "cardinal direction": ("North", "East", "South", "West"),
}  # fmt: skip


def members(job: str) -> tuple[str, tuple[str, ...]] | None:
    """The list that a job in words is about (its singular, its members); None if unknown."""
    said = job.lower()
    for name, known in LISTS.items():
        plural = re.sub(r"y$", "ie", name) + "s"
        if re.search(rf"\b({re.escape(name)}|{re.escape(plural)})\b", said):
            return name, known
    return written_out(job)


_WRITTEN = re.compile(
    r"\b(?:each|every one|all|the following|following)(?: of)?:? "
    r"((?:[A-Z][\w'-]*(?: [A-Z][\w'-]*)?,? )+(?:and |or )[A-Z][\w'-]*(?: [A-Z][\w'-]*)?)"
)


def written_out(job: str) -> tuple[str, tuple[str, ...]] | None:
    """A list that the job itself writes out: ``each of Bonn, Oslo and Rome``."""
    match = _WRITTEN.search(job) or re.search(r": ((?:[\w' -]+, )+(?:and )?[\w' -]+)", job)
    if not match:
        return None
    found = [part.strip(" .") for part in re.split(r",| and | or ", match.group(1))]
    items = tuple(dict.fromkeys(part for part in found if part))
    return ("item", items) if len(items) > 1 else None


def facts(text: str) -> tuple[str, ...]:
    """Facts of the one thing that a short text names."""
    for name, known in PLANETS.items():
        if re.search(rf"\b{name}\b", text, re.I):
            return known
    return ()
