"""Writes a CSV of invented parcels, which stands for a team's own data in the README."""

from __future__ import annotations

import argparse
import csv
import random
from datetime import date, timedelta
from pathlib import Path

DAYS, PARCELS_A_DAY = 150, 40
EXPRESS, NOT_WEIGHED = 0.3, 0.05
FIRST_DAY = date(2026, 1, 1)
ZIPS = ("02139", "07030", "10001", "30301", "60614", "73301", "85001", "98101")
CONTINENTS = ("AF", "AS", "EU", "NA", "OC", "SA")
COLUMNS = ("parcel", "day", "shop_id", "zip", "continent", "weight", "distance", "express", "late")


def parcel(number: int, chance: random.Random) -> tuple[object, ...]:
    """One row: heavy and far parcels are late more often, express ones less often."""
    distance, weight = chance.uniform(5, 900), chance.lognormvariate(1, 0.6)
    express, far = chance.random() < EXPRESS, chance.choice(CONTINENTS)
    zip_code = chance.choice(ZIPS)
    score = distance / 200 + weight / 3 - 2 * express + (far == "NA") + chance.gauss(0, 1)
    return (
        f"P{number:06}",
        FIRST_DAY + timedelta(days=number // PARCELS_A_DAY),
        f"S{chance.randrange(400):03}",
        zip_code,
        far,
        "" if chance.random() < NOT_WEIGHED else f"{weight:.2f}",
        f"{distance:.0f}",
        str(express).lower(),
        "yes" if score > 3.5 else "no",  # noqa: PLR2004 - a third of them
    )


def main() -> None:
    """Write the parcels to the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the CSV file to write")
    chance = random.Random(20260101)  # noqa: S311 - the same parcels every time
    with parser.parse_args().file.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(parcel(number, chance) for number in range(DAYS * PARCELS_A_DAY))


if __name__ == "__main__":
    main()
