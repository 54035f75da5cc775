#!/usr/bin/env python3
"""The rows of examples/flight_weather, by DuckDB: one query over both files, without streams or time.

    python3 -m venv venv && venv/bin/pip install --require-hashes -r ../nexmark/requirements.txt
    venv/bin/python oracle.py                    how many rows there are and their digest, as digest.json has it
    venv/bin/python oracle.py --rows delays.jsonl   the rows themselves, sorted
    venv/bin/python oracle.py --published DIR       whether a run of the example came to the same, byte for byte

A row is JSON, fields in the query's order, without spaces. Its hash is FNV-1a with 64 bits; the digest is
their wrapping sum.
"""

import argparse
import json
import pathlib
import sys

import duckdb

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "examples" / "data"


def fnv_1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def published(directory: str) -> list[str]:
    """The rows of a run that no later one replaces: of a day, airport and weather, the one with the most flights."""
    last: dict[tuple, tuple[int, str]] = {}
    for file in pathlib.Path(directory).iterdir():
        for line in file.read_text().splitlines() if file.is_file() else []:
            row = json.loads(line)
            kind = tuple(row[name] for name in ("day", "airport", "wind", "visibility"))
            last[kind] = max(last.get(kind, (0, "")), (row["flights"], line))
    return [line for _, line in last.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Adds up the delays of departures by day, airport and weather.")
    parser.add_argument("--rows", metavar="FILE", help="write the rows there, sorted")
    parser.add_argument("--published", metavar="DIR", help="compare them with what the example has published there")
    options = parser.parse_args()
    database = duckdb.connect(config={"threads": 1})
    database.execute("SET TimeZone = 'UTC'")
    for table, columns in [
        ("flights", {"year": "INT", "month": "INT", "day": "INT", "dep_time": "INT", "dep_delay": "BIGINT"}),
        ("weather", {"wind_speed": "DOUBLE", "visib": "DOUBLE"}),
    ]:
        file = DATA / f"{table}-2013-q1.csv.gz"
        database.execute(
            f"CREATE TABLE {table} AS SELECT * FROM read_csv(?, header = true, nullstr = 'NA', all_varchar = true)",
            [str(file)],
        )
        for column, kind in columns.items():
            database.execute(f"ALTER TABLE {table} ALTER {column} TYPE {kind}")
    twice = "SELECT count(*) FROM (SELECT origin, time_hour FROM weather GROUP BY ALL HAVING count(*) > 1)"
    assert database.execute(twice).fetchone() == (0,), "an hour has two rows of weather"
    result = database.execute((HERE / "delays.sql").read_text())
    names = [column[0] for column in result.description]
    rows = [json.dumps(dict(zip(names, row, strict=True)), separators=(",", ":")) for row in result.fetchall()]
    total = sum(fnv_1a(row.encode()) for row in rows) & 0xFFFFFFFFFFFFFFFF
    if options.rows:
        pathlib.Path(options.rows).write_text("".join(row + "\n" for row in sorted(rows)))
    if options.published and sorted(published(options.published)) != sorted(rows):
        sys.exit(f"what is published in {options.published} is something else")
    print(json.dumps({"rows": len(rows), "sum": f"{total:016x}"}))


if __name__ == "__main__":
    main()
