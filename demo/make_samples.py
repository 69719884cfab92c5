"""Write the demo's sample files: two made-up earthquake networks, a week, and every kind of dirt.

What belongs here: files. What does not: what a server answers (`serve_samples`).

The oddities are placed, not random, so that the demo's table is the same each time; each line that
is odd says why.
"""

from __future__ import annotations

import datetime as dt
import gzip
import random
import sys
from pathlib import Path

FIRST_DAY = dt.date(2026, 1, 5)
DAYS = 7
COASTAL_ROWS = 400
ALPINE_ROWS = 150
TODAY_ROWS = 100
COASTAL_HEADER = "time,latitude,longitude,depth,mag,magType,id,updated,place,type"
ALPINE_HEADER = "Nr;Zeitpunkt;ML;Breite;Länge;Ort;gespürt;Bearbeiter"
TOWNS = ("Port Ansel", "Cape Morrow", "Saltwick", "Grey Harbour", "Fennel Bay, outer reef")
VALLEYS = ("Kaltental", "Grünau", "Sankt Ruprecht", "Hochfeld", "Mühlbach")


def write_samples(folder: Path) -> list[Path]:
    """Write all sample files below a folder and return their paths."""
    dice = random.Random(20260105)  # noqa: S311 - sample data, nothing secret
    paths = []
    for offset in range(DAYS):
        day = FIRST_DAY + dt.timedelta(days=offset)
        paths.append(_write_coastal(folder, day, offset, dice))
        paths.append(_write_alpine(folder, day, offset, dice))
    paths.append(_write_late_corrections(folder, dice))
    return paths


def write_today(folder: Path, day: dt.date) -> Path:
    """Write a clean coastal file for the day that runs, and return its path.

    A feed says what is now: so that it meets a file in the entity, there is one of now.
    """
    dice = random.Random(f"20260105 {day}")  # noqa: S311 - sample data, nothing secret
    first = DAYS * COASTAL_ROWS
    rows = [_coastal_row(day, first + row, dice, stations=True) for row in range(TODAY_ROWS)]
    path = folder / "coastal" / f"{day:%Y-%m-%d}.csv"
    path.write_text("\n".join([f"{COASTAL_HEADER},stations", *rows]) + "\n", encoding="utf-8")
    return path


def _write_coastal(folder: Path, day: dt.date, offset: int, dice: random.Random) -> Path:
    header = COASTAL_HEADER + (
        ",stations" if offset >= 5 else ""
    )  # a column joins on the sixth day
    first = offset * COASTAL_ROWS
    lines = [header]
    lines += [
        _coastal_row(day, first + row, dice, stations=offset >= 5) for row in range(COASTAL_ROWS)
    ]
    _soil_coastal(lines, offset, day)
    path = folder / "coastal" / f"{day:%Y-%m-%d}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return path


def _coastal_row(day: dt.date, number: int, dice: random.Random, *, stations: bool) -> str:
    moment = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=dice.randrange(86_400))
    updated = moment + dt.timedelta(minutes=dice.randrange(5, 600))
    town = dice.choice(TOWNS)
    place = f'"{town}"' if "," in town else town
    if number % 40 == 0:
        place = f"Border {day:%m-%d}/{number % 400 // 40}"  # the alpine network reports these too
    kind = "quarry blast" if number % 25 == 24 else "earthquake"  # filtered by `where`
    fields = [
        f"{moment:%Y-%m-%dT%H:%M:%S}.{dice.randrange(1000):03}Z",
        f"{dice.uniform(40, 60):.4f}",
        f"{dice.uniform(-20, 10):.4f}",
        f"{dice.uniform(0, 120):.1f}",
        f"{dice.gauss(2, 1):.1f}",
        dice.choice(("ml", "md", "mb", "mw")),
        f"co{number:08}",
        f"{updated:%Y-%m-%dT%H:%M:%SZ}",
        place,
        kind,
    ]
    return ",".join([*fields, str(dice.randrange(3, 40))] if stations else fields)


def _soil_coastal(lines: list[str], offset: int, day: dt.date) -> None:
    """Spoil some lines, a different kind of dirt on each day."""
    stamp = f"{day:%Y-%m-%d}T10:00:00Z"
    tail = ",7" if offset >= 5 else ""  # the sixth day's new column
    good = f"{stamp},50.1,1.2,10.0,2.0,ml"
    dirt = {
        0: [
            f"{stamp},95.0,1.2,10.0,2.0,ml,co90000001,{stamp},Saltwick,earthquake",  # latitude
            f"{stamp},50.1,1.2,10.0,strong,ml,co90000002,{stamp},Saltwick,earthquake",  # no number
            f"yesterday,50.1,1.2,10.0,2.0,ml,co90000003,{stamp},Saltwick,earthquake",  # no time
        ],
        1: [
            f"{good},co90000004,{stamp},Saltwick",  # a field is missing
            f"{good},co90000005,{stamp},Saltwick, inner bay,earthquake",  # a comma too many
            f'{good},co90000006,{stamp},"Saltwick,earthquake',  # a quote that never closes
        ],
        2: [
            f"{good},XX1,{stamp},Saltwick,earthquake",  # an id of another shape
            f"{good},,{stamp},Saltwick,earthquake",  # no id
            f"{stamp},50.1,1.2,10.0,2.0,mx,co90000007,{stamp},Saltwick,earthquake",  # unknown scale
        ],
        3: [
            f"{stamp},50.1,1.2,6371,2.0,ml,co90000008,{stamp},Saltwick,earthquake",  # too deep
            f"{good},co90000009,2025-12-31T00:00:00Z,Saltwick,earthquake",  # a warning
            f"{good},co90000010,{stamp},{'very ' * 12}long name,earthquake",  # a name too long
        ],
        4: [lines[0], *lines[1:6]],  # the export was started twice: header and rows again
        5: [f"{good},co90000011,{stamp},Salt\0wick,earthquake{tail}"],  # a NUL byte
        6: [f"{good},co90000012,{stamp},Salt\nwick,earthquake{tail}"],  # a line end outside quotes
    }
    lines[20:20] = dirt[offset]


def _write_alpine(folder: Path, day: dt.date, offset: int, dice: random.Random) -> Path:
    lines = [f"Erdbebendienst;Tagesbericht {day:%d.%m.%Y}", "", ALPINE_HEADER]
    if offset != 3:  # on the fourth day the file holds its header only
        first = offset * ALPINE_ROWS + 1
        lines += [_alpine_row(day, first + row, dice) for row in range(ALPINE_ROWS)]
        lines.insert(30, f"{900_000 + offset};{day:%d.%m.%Y} 09:00:00;2.1;12.0;11.0;Grünau;nein;ab")
        lines.insert(60, f"{910_000 + offset};gestern;2.1;47.0;11.0;Grünau;nein;ab")
        lines.insert(90, f"{920_000 + offset};{day:%d.%m.%Y} 09:00;n/a;47.0;11.0;-;ja;ab")
        lines.insert(100, lines[50])  # the same event twice
    text = ("\r\n".join(lines) + "\r\n").encode("cp1252")
    if offset == 2:  # a byte that cp1252 does not have
        text = text.replace(b"Hochfeld", b"Hoch\x81feld", 1)
    path = folder / "alpine" / f"{day:%Y/%m/%d}" / "events.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text, mtime=0))
    return path


def _alpine_row(day: dt.date, number: int, dice: random.Random) -> str:
    moment = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=dice.randrange(86_400))
    place = dice.choice(VALLEYS)
    if number % 15 == 1:
        place = f"Border {day:%m-%d}/{number % 150 // 15}"  # the coastal network reports these too
    magnitude = dice.choice(("-", f"{max(0.5, dice.gauss(1.5, 0.7)):.2f}"))
    felt = dice.choice(("ja", "nein", "nein", ""))
    return ";".join(
        [
            str(number),
            f"{moment:%d.%m.%Y %H:%M:%S}",
            magnitude,
            f"{dice.uniform(46, 48):.3f}",
            f"{dice.uniform(9, 15):.3f}",
            place,
            felt,
            dice.choice(("ab", "km", "zs")),
        ]
    )


def _write_late_corrections(folder: Path, dice: random.Random) -> Path:
    """A second file for the third day, which arrived later and corrects some of its events."""
    day = FIRST_DAY + dt.timedelta(days=2)
    lines = [COASTAL_HEADER]
    for number in range(2 * COASTAL_ROWS, 2 * COASTAL_ROWS + 12):
        row = _coastal_row(day, number, dice, stations=False).split(",")
        row[7] = f"{day + dt.timedelta(days=3):%Y-%m-%d}T08:00:00Z"
        lines.append(",".join(row))
    path = folder / "coastal" / f"{day:%Y-%m-%d}.late.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    for written in write_samples(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
