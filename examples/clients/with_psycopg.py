"""Charges a wallet in the transaction that stores the answer, with psycopg 3.

The connection is configured by PGHOST, PGDATABASE and so on.
"""
import json
import time
from decimal import Decimal

import psycopg

CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => %s, idempotency_key => %s)"
# A first attempt may have been committed although its answer did not arrive.
ANSWER = "INSERT INTO answers (request, answer) VALUES (%s, %s) ON CONFLICT DO NOTHING"
# Another transaction came first.
CONFLICTS = ("40001", "40P01")
# The server stops, starts, or is a standby: another connection leads to the primary.
ELSEWHERE = ("57P01", "57P02", "57P03", "25006")


class Database:
    """A connection, replaced when it is broken or leads to a server that cannot write."""

    connection = None

    def charge(self, request, answer, cost):
        """Stores the charge and the answer, or neither. NUMERIC is a Decimal, never a float."""
        for attempt in range(20):  # half a minute: long enough for a failover
            try:
                self.connection = self.connection or psycopg.connect("", autocommit=True)
                with self.connection.transaction():
                    charged = self.connection.execute(CHARGE, (cost, request)).fetchone()
                    self.connection.execute(ANSWER, (request, answer))
                return charged
            except psycopg.Error as error:
                # Without a SQLSTATE the connection broke, or there is none.
                lost = error.sqlstate is None or error.sqlstate in ELSEWHERE or error.sqlstate[:2] == "08"
                if attempt == 19 or not (lost or error.sqlstate in CONFLICTS):
                    raise
                if lost and self.connection:
                    self.connection.close()
                    self.connection = None
            # Again, with the same key.
            time.sleep(min(2, 0.01 * 2**attempt))


# LISTEN needs a connection of its own, open as long as the program listens.
listener = psycopg.connect("", autocommit=True)
listener.execute("LISTEN wallet_events")
db = Database()

cost, balance = db.charge("req-1", "forty-two", Decimal("0.000000000001"))
print(f"charged {cost:f}, {balance:f} is left")

event = json.loads(next(listener.notifies()).payload)
print(f"heard {event['event']} of {event['wallet']}")

try:
    db.charge("req-2", "too dear", Decimal(2_000_000_000_000_000))
except psycopg.Error as error:
    print(f"{error.sqlstate}: {error.diag.message_primary}")
    print(f"DETAIL: {error.diag.message_detail}")
    print(f"HINT: {error.diag.message_hint}")
