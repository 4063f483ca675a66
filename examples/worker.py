"""Takes events of wallets: pays top-ups and sends webhooks.

A short example, for programs that act on events themselves. walletd (docs/walletd.md) delivers
events to webhooks, chat services and e-mail addresses, with signatures that rotate, retries in
order, dead letters and a guard against addresses of your own network.

    PAY_URL=https://… HOOK_URL=https://… HOOK_SECRET=… python3 worker.py

The connection is configured by PGHOST, PGDATABASE and so on. The role needs
wallet.grant_access(role, 'billing'). You can run any number of workers: claim_events gives each
event to one of them. An event is delivered at least once. The payment has the top-up's id as its
idempotency key, and the webhook has the event's id.
"""
import hashlib
import hmac
import json
import os
import select
import sys
import time
import urllib.error
import urllib.request

import psycopg
from psycopg.rows import dict_row

PAY_URL, HOOK_URL = os.environ.get("PAY_URL"), os.environ.get("HOOK_URL")
SECRET = os.environ.get("HOOK_SECRET", "").encode()
TIMEOUT = float(os.environ.get("TIMEOUT", "10"))
LEASE = f"{TIMEOUT * 4 + 1} seconds"  # longer than one payment and one webhook take
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


def tell(event):
    told = {key: event[key] for key in ("wallet", "event", "payload")}
    told.update(id=str(event["id"]), created_at=event["created_at"].isoformat())
    told["threshold"] = None if event["threshold"] is None else str(event["threshold"])
    body = json.dumps(told).encode()
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    post(HOOK_URL, body, {"X-Wallet-Event": told["id"], "X-Wallet-Signature": f"sha256={signature}"})


def work(db):
    # One at a time, so that other workers can take the events that this one has not begun.
    while event := db.execute("SELECT * FROM wallet.claim_events(1, %s::interval)", (LEASE,)).fetchone():
        try:
            if PAY_URL and event["event"] == "topup_requested":
                pay(db, event["wallet"], event["payload"])
            if HOOK_URL:
                tell(event)
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
    except psycopg.OperationalError as error:
        print(error, file=sys.stderr)
        time.sleep(1)
