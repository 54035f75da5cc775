#!/usr/bin/env python3
"""The rows of Nexmark's queries, by DuckDB: what the topologies in examples/nexmark must come to.

    python3 -m venv venv && venv/bin/pip install --require-hashes -r requirements.txt
    cargo run --release --example nexmark -- events --events 100000 --out events.jsonl
    venv/bin/python oracle.py events.jsonl                    a digest for each query, as digests.json has it
    venv/bin/python oracle.py events.jsonl q5 --rows q5.jsonl the rows themselves, sorted

Each query is a file in queries/, over the tables person, auction and bid, whose columns have the names of
the official SQL, times in milliseconds since the epoch, and each event's number as seq.

A row is JSON, fields in the query's order, without spaces. Its hash is FNV-1a with 64 bits; a digest is
their wrapping sum, and how many there are.
"""

import argparse
import json
import pathlib
import sys

import duckdb

QUERIES = pathlib.Path(__file__).parent / "queries"

PERSON = "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time BIGINT, extra VARCHAR"
AUCTION = (
    "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time BIGINT, "
    "expires BIGINT, seller BIGINT, category BIGINT, extra VARCHAR"
)
BID = "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time BIGINT, extra VARCHAR"

TABLES = """
CREATE TABLE person AS SELECT seq, e.id, e.name, e.email_address AS "emailAddress", e.credit_card AS "creditCard",
    e.city, e.state, e.date_time AS "dateTime", e.extra
  FROM (SELECT seq, event.Person AS e FROM events) WHERE e IS NOT NULL;
CREATE TABLE auction AS SELECT seq, e.id, e.item_name AS "itemName", e.description, e.initial_bid AS "initialBid",
    e.reserve, e.date_time AS "dateTime", e.expires, e.seller, e.category, e.extra
  FROM (SELECT seq, event.Auction AS e FROM events) WHERE e IS NOT NULL;
CREATE TABLE bid AS SELECT seq, e.auction, e.bidder, e.price, e.channel, e.url, e.date_time AS "dateTime", e.extra
  FROM (SELECT seq, event.Bid AS e FROM events) WHERE e IS NOT NULL;
"""


def fnv_1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def read(path: str) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(config={"threads": 1})
    database.execute("SET TimeZone = 'UTC'")
    columns = f"{{seq: 'BIGINT', event: 'STRUCT(\"Person\" STRUCT({PERSON}), \"Auction\" STRUCT({AUCTION}), \"Bid\" STRUCT({BID}))'}}"
    database.execute(
        f"CREATE TEMP TABLE events AS SELECT * FROM read_json(?, format = 'newline_delimited', columns = {columns})",
        [path],
    )
    database.execute(TABLES)
    database.execute("DROP TABLE events")
    return database


def rows(database: duckdb.DuckDBPyConnection, query: str):
    """Each row of a query, as JSON."""
    result = database.execute((QUERIES / f"{query}.sql").read_text())
    names = [column[0] for column in result.description]
    while batch := result.fetchmany(10_000):
        for row in batch:
            yield json.dumps(dict(zip(names, row, strict=True)), separators=(",", ":"), ensure_ascii=False)


def number(query: str) -> int:
    return int(query[1:])


def main() -> None:
    known = sorted((path.stem for path in QUERIES.glob("q*.sql")), key=number)
    parser = argparse.ArgumentParser(description="Runs the queries of Nexmark over a file of events.")
    parser.add_argument("events", help="what `nexmark -- events` wrote")
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="all unless given")
    parser.add_argument("--rows", metavar="FILE", help="write the rows of the one query there, sorted")
    options = parser.parse_args()
    for query in options.queries:
        if query not in known:
            sys.exit(f"there is no query '{query}': there are {', '.join(known)}")
    if options.rows and len(options.queries) != 1:
        sys.exit("--rows writes the rows of one query: name it")
    database = read(options.events)
    digests = {}
    for query in options.queries or known:
        total, count, kept = 0, 0, []
        for row in rows(database, query):
            total = (total + fnv_1a(row.encode())) & 0xFFFFFFFFFFFFFFFF
            count += 1
            if options.rows:
                kept.append(row + "\n")
        digests[query] = {"rows": count, "sum": f"{total:016x}"}
        if options.rows:
            pathlib.Path(options.rows).write_text("".join(sorted(kept)))
    lines = ",\n".join(f"  {json.dumps(query)}: {json.dumps(digest)}" for query, digest in digests.items())
    print("{\n" + lines + "\n}")


if __name__ == "__main__":
    main()
