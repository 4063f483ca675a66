"""Charges a wallet in the transaction that stores the answer, with psycopg 3.

The connection is configured by PGHOST, PGDATABASE and so on.
"""
import json
import time
from decimal import Decimal

import psycopg
from psycopg.errors import DeadlockDetected, SerializationFailure

CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => %s, idempotency_key => %s)"
ANSWER = "INSERT INTO answers (request, answer) VALUES (%s, %s)"


def charge(db, request, answer, cost):
    """Stores the charge and the answer, or neither. NUMERIC is a Decimal, never a float."""
    for attempt in range(5):
        try:
            with db.transaction():
                charged = db.execute(CHARGE, (cost, request)).fetchone()
                db.execute(ANSWER, (request, answer))
            return charged
        except (SerializationFailure, DeadlockDetected):
            # A conflict with another transaction: run it again with the same key.
            if attempt == 4:
                raise
            time.sleep(0.01 * 2**attempt)


# LISTEN needs a connection of its own, open as long as the program listens.
listener = psycopg.connect("", autocommit=True)
listener.execute("LISTEN wallet_events")
db = psycopg.connect("", autocommit=True)

cost, balance = charge(db, "req-1", "forty-two", Decimal("0.000000000001"))
print(f"charged {cost:f}, {balance:f} is left")

event = json.loads(next(listener.notifies()).payload)
print(f"heard {event['event']} of {event['wallet']}")

try:
    charge(db, "req-2", "too dear", Decimal(2_000_000_000_000_000))
except psycopg.Error as error:
    print(f"{error.sqlstate}: {error.diag.message_primary}")
    print(f"DETAIL: {error.diag.message_detail}")
    print(f"HINT: {error.diag.message_hint}")
