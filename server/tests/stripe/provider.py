"""Stripe for the test: localstripe, and in front of it what localstripe does not have.

localstripe has customers, payment methods, payment intents, charges and refunds. The front adds
idempotency keys, Checkout sessions, disputes, and answers that are lost. All requests pass it.
"""
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Provider:
    def __init__(self, random, directory):
        self.random, self.lock = random, threading.RLock()
        self.port, self.front = free_port(), free_port()
        self.sessions, self.disputes, self.answers, self.emails = {}, [], {}, {}
        self.lose = 0.0
        self.log = open(f"{directory}/localstripe.log", "w")
        command = [sys.executable, "-m", "localstripe", "--from-scratch", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(100):
            try:
                self.call("GET", "balance")
                break
            except OSError:
                time.sleep(0.1)
        server = ThreadingHTTPServer(("127.0.0.1", self.front), self.handler())
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def call(self, method, path, form=None):
        """A request to localstripe itself. Returns status and JSON."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        url = f"http://127.0.0.1:{self.port}/v1/{path}"
        request = urllib.request.Request(url, data, {"Authorization": "Bearer sk_test_12345"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "{}")

    def send_events(self, url, secret):
        """localstripe sends its events to this address."""
        body = json.dumps({"url": url, "secret": secret}).encode()
        address = f"http://127.0.0.1:{self.port}/_config/webhooks/walletd"
        request = urllib.request.Request(address, body, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=20).close()

    def ok(self, method, path, form=None):
        status, answer = self.call(method, path, form)
        assert status == 200, (path, status, answer)
        return answer

    def card(self, number):
        card = {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        form = {"type": "card", **{f"card[{key}]": value for key, value in card.items()}}
        return self.ok("POST", "payment_methods", form)["id"]

    def pay(self, session_id, number="4242424242424242"):
        """The customer pays on the page of a session. Returns the payment intent, or None."""
        with self.lock:
            session = self.sessions[session_id]
            form = session["form"]
            customer = form.get("customer") or self.ok("POST", "customers", {"name": "x"})["id"]
            method = self.card(number)
            self.ok("POST", f"payment_methods/{method}/attach", {"customer": customer})
            intent = {
                "amount": form["line_items[0][price_data][unit_amount]"],
                "currency": form["line_items[0][price_data][currency]"],
                "customer": customer,
                "payment_method": method,
                "metadata[walletd_wallet]": form["payment_intent_data[metadata][walletd_wallet]"],
            }
            session["intent"] = self.ok("POST", "payment_intents", intent)["id"]
            session["usage"] = form.get("payment_intent_data[setup_future_usage]")
            self.call("POST", f"payment_intents/{session['intent']}/confirm", {})
            return session["intent"]

    def intents(self):
        """All payment intents."""
        found, after = [], ""
        while page := self.ok("GET", f"payment_intents?limit=100{after}"):
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&starting_after={found[-1]['id']}"

    def intent(self, name):
        """A payment intent as Stripe shows it, with its charge."""
        status, intent = self.call("GET", f"payment_intents/{name}?expand[]=latest_charge")
        if status != 200:
            intent.setdefault("error", {})["code"] = "resource_missing"
            return status, intent
        intent["amount_received"] = intent["amount"] if intent["status"] == "succeeded" else 0
        for session in self.sessions.values():
            if session.get("intent") == name:
                intent["setup_future_usage"] = session["usage"]
        if isinstance(intent.get("latest_charge"), dict):
            disputed = any(one["payment_intent"] == name for one in self.disputes)
            intent["latest_charge"]["disputed"] = disputed
        return status, intent

    def dispute(self, intent, amount):
        moved = {"object": "dispute", "id": f"dp_{len(self.disputes)}", "payment_intent": intent, "amount": amount,
                 "status": "needs_response", "balance_transactions": [{"amount": -amount - 1500}]}
        self.disputes.append(moved)
        return moved

    def answer(self, method, path, query, form, key):
        with self.lock:
            if key and key in self.answers:
                old, answer = self.answers[key]
                if old != (path, sorted(form.items())):
                    return 400, {"error": {"type": "idempotency_error"}}
                return answer
            answer = self.fresh(method, path, query, form)
            if key:
                self.answers[key] = ((path, sorted(form.items())), answer)
            return answer

    def fresh(self, method, path, query, form):
        parts = path.split("/")
        if path == "checkout/sessions" and method == "POST":
            name = f"cs_test_{len(self.sessions)}"
            self.sessions[name] = {"form": form}
            return 200, {"id": name, "object": "checkout.session", "url": f"https://checkout.example.com/{name}"}
        if path == "disputes":
            wanted = query["payment_intent"]
            return 200, {"data": [one for one in self.disputes if one["payment_intent"] == wanted]}
        if path == "payment_intents" and method == "GET":
            return 200, {"data": [one for one in self.intents() if one["customer"] == query["customer"]], "has_more": False}
        if parts[0] == "payment_intents" and len(parts) == 2 and method == "GET":
            return self.intent(parts[1])
        form = {key: value for key, value in form.items() if key != "receipt_email"}
        return self.call(method, path, form if method == "POST" else None)

    def handler(provider):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def attend(self):
                url = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                assert self.headers["authorization"] == "Bearer sk_test_12345" and self.headers["stripe-version"]
                parsed = [dict(urllib.parse.parse_qsl(text)) for text in (url.query, body)]
                key = self.headers.get("idempotency-key")
                answer = provider.answer(self.command, url.path.removeprefix("/v1/"), *parsed, key)
                if provider.random.random() < provider.lose:
                    return self.connection.close()  # done, and the answer is lost
                text = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = attend

        return Handler

    def stop(self):
        self.process.kill()
        self.process.wait()
