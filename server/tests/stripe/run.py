"""Stripe's books and the ledger's, compared after random payments, faults and deliveries.

    run.py WALLETD DATABASE NODE_MODULES ROUNDS [CRASH_COMMAND...]

Events are signed and verified by Stripe's official libraries for Python and Node.js. They are
delivered in any order, any number of times, some with a wrong signature, while walletd is killed,
PostgreSQL crashes, and answers of Stripe are lost. At the end, one event of each payment is
delivered once more. Then every wallet must have what Stripe has for it.
"""
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path

import psycopg
import stripe

from provider import Provider

SECRETS = ["whsec_the_old_secret_1", "whsec_the_new_secret_2"]
FACTORS = {"usd": 100, "jpy": 1, "kwd": 1000}
SETUP = """
SELECT wallet.create_wallet('dollars'); SELECT wallet.create_wallet('yen', 'JPY');
SELECT wallet.create_wallet('dinars', 'KWD'); SELECT wallet.create_wallet('auto');
SELECT wallet.set_topup_rule('auto', '{"threshold": 10, "amount": 25, "back_off": "1 second", "max_declines": 1000}');
"""
SUM = """SELECT coalesce(sum(amount), 0) FROM wallet.entries
          WHERE wallet = %s AND kind IN ('funding', 'chargeback')"""


class Test:
    def __init__(self, program, database, modules, crash):
        seed = int(os.environ.get("WALLET_SEED") or time.time_ns())
        print(f"WALLET_SEED={seed}", flush=True)
        self.random = random.Random(seed)
        self.program, self.database, self.crash = program, database, crash
        self.directory = tempfile.mkdtemp()
        self.provider = Provider(self.random, self.directory)
        sign = Path(__file__).with_name("sign.mjs")
        self.node = subprocess.Popen(["node", sign, modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.sql(SETUP)
        self.keys = {}
        for wallet in ("dollars", "yen", "dinars", "auto"):
            self.keys[wallet] = self.sql("SELECT secret FROM wallet.create_key(%s)", (wallet,))[0][0]
        self.queue, self.counts, self.walletd = [], {}, None
        self.start()

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def sql(self, statement, arguments=None):
        for attempt in range(60):
            try:
                with psycopg.connect(f"dbname={self.database}", autocommit=True) as connection:
                    cursor = connection.execute(statement, arguments)
                    return cursor.fetchall() if arguments is not None else None
            except psycopg.OperationalError:
                if attempt == 59:
                    raise
                time.sleep(0.5)

    def start(self):
        at = f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} dbname={self.database}"
        settings = {
            "HTTP__LISTEN": "127.0.0.1:0", "OPS__LISTEN": "127.0.0.1:0",
            "DATABASE__TENANTS": f"{at} user=walletd_tenants", "DATABASE__WORKER": f"{at} user=walletd_worker",
            "PAYMENTS__STRIPE__SECRET_KEY": "sk_test_12345",
            "PAYMENTS__STRIPE__WEBHOOK_SECRETS": json.dumps(SECRETS),
            "PAYMENTS__STRIPE__SUCCESS_URL": "https://example.com/paid",
            "PAYMENTS__STRIPE__CANCEL_URL": "https://example.com/",
            "PAYMENTS__STRIPE__AMOUNTS": '["USD 5-1000", "JPY 500-100000", "KWD 1-100"]',
            "PAYMENTS__STRIPE__API": f"http://127.0.0.1:{self.provider.front}",
            "PAYMENTS__STRIPE__TIMEOUT": "2s", "PAYMENTS__STRIPE__POLL": "100ms",
        }
        environment = {**os.environ, **{f"WALLETD_{name}": value for name, value in settings.items()}}
        path = Path(self.directory) / "walletd.log"
        checked = subprocess.run([self.program, "check"], env=environment, capture_output=True, text=True, timeout=30)
        assert "Stripe accepts the key, in test mode" in checked.stdout, checked.stdout + checked.stderr
        log = open(path, "a")
        begun = path.stat().st_size
        self.walletd = subprocess.Popen([self.program, "serve"], env=environment, stderr=log)
        for _ in range(200):
            found = re.search(r'"message":"serving","http":"([^"]*)"', path.read_text()[begun:])
            if found:
                self.address = found[1]
                # localstripe sends events of its own, signed by itself.
                self.provider.send_events(f"http://{self.address}/v1/providers/stripe/events", SECRETS[0])
                return
            time.sleep(0.05)
        raise AssertionError(path.read_text())

    def post(self, path, body, headers):
        url = f"http://{self.address}{path}"
        headers = {"content-type": "application/json", **headers}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    # The customers and the operator.

    def checkout(self, wallet=None, number=None):
        wallet = wallet or self.random.choice(list(self.keys))
        amounts = {"dollars": "19.99", "yen": "1500", "dinars": "5.12", "auto": "30"}
        body = json.dumps({"amount": amounts[wallet], "save_card": wallet == "auto"}).encode()
        headers = {"authorization": f"Bearer {self.keys[wallet]}", "idempotency-key": str(self.random.random())}
        answers = [self.post("/v1/top-up", body, headers) for _ in range(self.random.randint(1, 2))]
        pages = {json.loads(text)["checkout_id"] for status, text in answers if status == 201}
        assert len(pages) <= 1, answers
        if not pages:
            return self.count("checkout failed")
        # The second card can be saved, and is declined later.
        number = number or ("4242424242424242" if self.random.random() < 0.8 else "4000000000000341")
        intent = self.provider.pay(pages.pop(), number)
        self.count("checkout")
        self.tell("payment_intent.processing", {"object": "payment_intent", "id": intent})
        self.tell("checkout.session.completed", {"object": "checkout.session", "payment_intent": intent})

    def paid(self):
        intents = [self.provider.intent(name)[1] for name in self.all_intents()]
        return [one for one in intents if one["status"] == "succeeded"]

    def left(self, intent):
        lost = sum(one["amount"] for one in self.provider.disputes
                   if one["payment_intent"] == intent["id"] and len(one["balance_transactions"]) == 1)
        return intent["amount"] - intent["latest_charge"]["amount_refunded"] - lost

    def part(self, intent):
        """A part of what is left of a payment, or all of it."""
        most = self.left(intent)
        step = 10 if intent["currency"] == "kwd" else 1
        if self.random.random() < 0.3:
            return most
        return min(most, self.random.randint(1, max(1, most // step // 2)) * step)

    def refund(self):
        paid = [one for one in self.paid() if self.left(one) > 0]
        if paid:
            intent = self.random.choice(paid)
            self.provider.ok("POST", "refunds", {"payment_intent": intent["id"], "amount": self.part(intent)})
            self.count("refund")
            self.tell("charge.refunded", {"object": "charge", "payment_intent": intent["id"]})
            self.tell("refund.created", {"object": "refund", "payment_intent": intent["id"]})

    def dispute(self):
        paid = [one for one in self.paid() if self.left(one) > 0]
        if paid:
            intent = self.random.choice(paid)
            dispute = self.provider.dispute(intent["id"], self.part(intent))
            self.count("dispute")
            self.tell("charge.dispute.created", dispute)
            self.tell("charge.dispute.funds_withdrawn", dispute)

    def win(self):
        lost = [one for one in self.provider.disputes if one["status"] == "needs_response"]
        if lost:
            dispute = self.random.choice(lost)
            if self.random.random() < 0.7:
                # In the currency of the account, at the rate of another day.
                back = -dispute["balance_transactions"][0]["amount"] + self.random.randint(-40, 40)
                dispute["balance_transactions"].append({"amount": back})
                dispute["status"] = "won"
                self.count("dispute won")
            else:
                dispute["status"] = "lost"
                self.count("dispute lost")
            self.tell("charge.dispute.closed", dispute)

    def spend(self):
        rows = self.sql("SELECT available FROM wallet.balances WHERE wallet = 'auto'", ())
        amount = (rows[0][0] * Decimal("0.9")).quantize(Decimal("0.01"))
        if amount > 0:
            self.sql("SELECT wallet.charge('auto', amount => %s)", (amount,))
            self.count("charge")

    # The deliveries.

    def tell(self, kind, thing):
        event = {"id": f"evt_{self.random.random()}", "object": "event", "type": kind, "data": {"object": thing}}
        self.queue.append(json.dumps(event))

    def signed(self, body, secret):
        now = int(time.time())
        if self.random.random() < 0.5:
            signature = stripe.WebhookSignature._compute_signature(f"{now}.{body}", secret)
            header = f"t={now},v1={signature}"
        else:
            self.node.stdin.write(json.dumps([body, secret, now]) + "\n")
            self.node.stdin.flush()
            header = self.node.stdout.readline().strip()
        stripe.Webhook.construct_event(body, header, secret)
        return header

    def deliver(self, body):
        header = self.signed(body, self.random.choice(SECRETS))
        return self.post("/v1/providers/stripe/events", body.encode(), {"stripe-signature": header})

    def deliveries(self):
        for body in self.random.sample(self.queue, min(len(self.queue), 3)):
            status, text = self.deliver(body)
            assert status in (0, 200, 503), (status, text, body)
            self.count(f"event {status}")

    def forge(self):
        body = self.random.choice(self.queue or ["{}"])
        header = self.signed(body, "whsec_of_somebody_else")
        status, _ = self.post("/v1/providers/stripe/events", body.encode(), {"stripe-signature": header})
        assert status in (0, 400), status
        right = self.signed(body, SECRETS[0])
        status, _ = self.post("/v1/providers/stripe/events", body.encode() + b" ", {"stripe-signature": right})
        assert status in (0, 400), status
        self.count("forged")

    def kill(self):
        # In the middle of a delivery, often.
        if self.queue:
            self.random.choice([time.sleep, lambda _: None])(self.random.random() / 20)
        self.walletd.kill()
        self.walletd.wait()
        self.provider.lose = 0.0
        self.start()
        self.count("kill -9 of walletd")

    def crash_database(self):
        if self.crash:
            subprocess.run(self.crash, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.count("crash of PostgreSQL")

    def run(self, rounds):
        # One of each first, so that a short run has them all.
        self.checkout("auto", "4242424242424242")
        self.settle()
        # The first top-up failed, because there was no card, and the rule pauses after a failure.
        time.sleep(1.2)
        self.spend()
        self.settle()
        self.refund()
        self.dispute()
        self.forge()
        ways = [(self.checkout, 6), (self.refund, 3), (self.dispute, 2), (self.win, 3), (self.spend, 4),
                (self.deliveries, 10), (self.forge, 1), (self.kill, 1)]
        for number in range(rounds):
            self.provider.lose = 0.15 if number % 3 else 0.0
            way = self.random.choices([way for way, _ in ways], [weight for _, weight in ways])[0]
            way()
            if number in (rounds // 3, 2 * rounds // 3):
                self.crash_database()
        self.provider.lose = 0.0
        self.settle()
        self.compare()

    def settle(self):
        """The end: one event of each payment, until it is booked; then the top-ups end."""
        deadline = time.time() + 120
        for _ in range(3):
            for intent in self.all_intents():
                event = {"object": "payment_intent", "id": intent}
                body = json.dumps({"id": "evt_last", "type": "payment_intent.succeeded", "data": {"object": event}})
                while (answer := self.deliver(body))[0] != 200:
                    assert time.time() < deadline, answer
                    time.sleep(0.2)
            self.sql("UPDATE wallet.outbox SET available_at = now() WHERE done_at IS NULL AND event = 'topup_requested'")
            while self.sql("SELECT count(*) FROM wallet.topups WHERE status = 'requested'", ())[0][0]:
                assert time.time() < deadline, "a top-up stays open"
                time.sleep(0.2)

    def all_intents(self):
        return [one["id"] for one in self.provider.intents()]

    def compare(self):
        theirs, topups = {}, {}
        for name in self.all_intents():
            _, intent = self.provider.intent(name)
            if intent["status"] == "succeeded":
                wallet = intent["metadata"]["walletd_wallet"]
                amount = Decimal(self.left(intent)) / FACTORS[intent["currency"]]
                theirs[wallet] = theirs.get(wallet, 0) + amount
                topup = intent["metadata"].get("walletd_topup")
                if topup:
                    topups[topup] = topups.get(topup, 0) + 1
        assert all(number == 1 for number in topups.values()), topups
        self.counts["top-ups paid"] = len(topups)
        kinds = ["checkout", "refund", "dispute", "forged", "event 200", "top-ups paid"]
        ended = self.sql("SELECT status, reason, count(*) FROM wallet.topups GROUP BY 1, 2", ())
        assert all(self.counts.get(kind) for kind in kinds), (self.counts, ended)
        for wallet in self.keys:
            ours = self.sql(SUM, (wallet,))[0][0]
            assert ours == theirs.get(wallet, 0), (wallet, ours, theirs)
        wrong = self.sql("SELECT b.wallet, v.* FROM wallet.balances b, wallet.verify(b.wallet) v WHERE NOT v.ok", ())
        assert not wrong, wrong
        told = (Path(self.directory) / "localstripe.log").read_text()
        self.counts["localstripe's own events"] = told.count('"payment_intent.succeeded" successfully delivered')
        assert self.counts["localstripe's own events"], told[-2000:]
        log = (Path(self.directory) / "walletd.log").read_text()
        assert "sk_test" not in log and "whsec" not in log
        self.walletd.terminate()
        assert self.walletd.wait(30) == 0
        self.provider.stop()
        self.node.stdin.close()
        print(json.dumps(self.counts), {wallet: str(amount) for wallet, amount in theirs.items()})


if __name__ == "__main__":
    test = Test(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[5:])
    try:
        test.run(int(sys.argv[4]))
    except BaseException:
        print((Path(test.directory) / "walletd.log").read_text()[-6000:], file=sys.stderr)
        raise
    finally:
        test.walletd.kill()
        test.provider.stop()
    print("test result: ok. 1 passed; 0 failed; Stripe's books equal the ledger's")
