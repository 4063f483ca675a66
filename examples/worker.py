"""Takes the top-ups that wallets request, and pays them with a provider of your own.

    PAY_URL=https://… python3 worker.py

This is an example for programs that act on events themselves. To tell people and programs of events,
set destinations and run walletd: docs/walletd.md.

The connection is configured by PGHOST, PGDATABASE and so on. The role needs
wallet.grant_access(role, 'billing'). You can run any number of workers: claim_events gives each
event to one of them, at least once. The payment has the top-up's id as its idempotency key.
"""
import json
import os
import select
import sys
import time
import urllib.error
import urllib.request

import psycopg
from psycopg.rows import dict_row

PAY_URL = os.environ["PAY_URL"]
TIMEOUT = float(os.environ.get("TIMEOUT", "10"))
LEASE = f"{TIMEOUT * 2 + 1} seconds"  # longer than a payment takes
POLL = float(os.environ.get("POLL", "5"))


class Declined(Exception):
    """The payment was declined. Trying again at once would not help."""


def post(url, body, headers):
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.loads(answer.read() or "{}")
    except urllib.error.HTTPError as error:
        if error.code == 402:
            raise Declined(json.loads(error.read() or "{}").get("reason", "declined")) from error
        raise


def pay(db, wallet, topup):
    body = {"wallet": wallet, **{key: topup[key] for key in ("topup_id", "amount", "currency", "method")}}
    try:
        paid = post(PAY_URL, json.dumps(body).encode(), {"Idempotency-Key": topup["topup_id"]})
    except Declined as declined:
        sql = "SELECT wallet.fail_topup(%s, %s, %s)"
        db.execute(sql, (wallet, topup["topup_id"], str(declined)))
    else:
        sql = "SELECT wallet.complete_topup(%s, %s, %s)"
        db.execute(sql, (wallet, topup["topup_id"], paid["reference"]))


def work(db):
    # One at a time, so that other workers can take the events that this one has not begun.
    claim = "SELECT * FROM wallet.claim_events(1, %s::interval, '{topup_requested}')"
    while event := db.execute(claim, (LEASE,)).fetchone():
        try:
            pay(db, event["wallet"], event["payload"])
            db.execute("SELECT wallet.finish_event(%s)", (event["id"],))
        except Exception as error:  # any failure: try again later
            db.execute("SELECT wallet.retry_event(%s, error => %s)", (event["id"], repr(error)))


while True:
    try:
        with psycopg.connect("", autocommit=True, row_factory=dict_row) as connection:
            connection.execute("LISTEN wallet_events")
            while True:
                connection.execute("SELECT wallet.request_due_topups()")
                work(connection)
                select.select([connection.fileno()], [], [], POLL)
    # The second one: the server became a standby. Another connection leads to the new primary.
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
        print(error, file=sys.stderr)
        time.sleep(1)
