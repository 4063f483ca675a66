"""Reads the metrics of an address with the parser of OpenMetrics."""

import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
    text = answer.read().decode()
families = {family.name: family for family in text_string_to_metric_families(text)}
requests = families["walletd_request_duration_seconds"].samples
counted = sum(sample.value for sample in requests if sample.name.endswith("_count"))
assert counted > 100, f"only {counted} requests were counted"
assert families["wallet_up"].samples[0].value == 1
print(f"{len(families)} metrics, {counted:.0f} requests")
