"""Verifies requests of walletd with the library of the Standard Webhooks project."""
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

verified = refused = 0


def is_right(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


for case in json.load(open(sys.argv[1])):
    headers, body = case["headers"], case["body"]
    for secret in case["right"]:
        verified += is_right(secret, headers, body)
    altered = {**headers, "webhook-id": headers["webhook-id"] + "0"}
    for secret in case["right"]:
        refused += not is_right(secret, altered, body)
    for secret in case["wrong"]:
        refused += not is_right(secret, headers, body)
print(f"{verified} verified, {refused} refused")
