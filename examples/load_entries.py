"""Copies new entries of all wallets that a role may read into a SQLite file, each exactly once.

    python3 load_entries.py FILE

The connection is configured by PGHOST, PGDATABASE and so on. The role needs
wallet.grant_access(role, 'reader'). Run it as often as the copy must be fresh. The entries of a
page and the cursor after them are stored in one transaction of the file. So if the program is
stopped at any time, the next run continues where the file ends. Do the same in a warehouse: store
the cursor in a table of the warehouse, together with the entries.
"""
import json
import sqlite3
import sys

import psycopg
from psycopg.rows import tuple_row

PAGE = 10000
COLUMNS = ["entry_id", "wallet", "kind", "amount", "contra", "user_id", "team", "model", "provider",
           "service", "region", "event_at", "created_at", "lane", "seq"]


def load(db, file):
    """Copies one page. Returns the number of its entries."""
    row = file.execute("SELECT cursor FROM position").fetchone()
    since = row[0] if row else None
    texts = ", ".join(f"(c.entry).{column}::text" for column in COLUMNS)
    page = db.execute(f"SELECT {texts}, c.cursor::text FROM wallet.changes(%s, %s) c", (since, PAGE)).fetchall()
    if page:
        places = ", ".join("?" for _ in COLUMNS)
        with file:  # one transaction
            file.executemany(f"INSERT INTO entries VALUES ({places})", [row[:-1] for row in page])
            file.execute("DELETE FROM position")
            file.execute("INSERT INTO position VALUES (?)", (page[-1][-1],))
    return len(page)


def main(path):
    file = sqlite3.connect(path)
    with file:
        file.execute(f"CREATE TABLE IF NOT EXISTS entries ({', '.join(COLUMNS)}, PRIMARY KEY (wallet, entry_id))")
        file.execute("CREATE TABLE IF NOT EXISTS position (cursor)")
    # Amounts are texts: they have up to 28 digits, and a float has 15.
    with psycopg.connect("", autocommit=True, row_factory=tuple_row) as db:
        total = 0
        while loaded := load(db, file):
            total += loaded
    print(json.dumps({"loaded": total}))


if __name__ == "__main__":
    main(sys.argv[1])
