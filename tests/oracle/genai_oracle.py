"""Compares price_usage() with genai-prices' calculator, for every model of its data.

Prints its seed (WALLET_SEED repeats a run) and fails on a disagreement without a listed reason.
"""

import collections
import dataclasses
import datetime
import decimal
import json
import math
import os
import random
import sys
import time

import psycopg
from genai_prices import Usage, calc_price, data

ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "3"))
#: Their meters, and ours.
METERS = {
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}
FIELDS = {
    "cache_read_mtok": "cache_read_tokens",
    "cache_write_mtok": "cache_write_tokens",
    "input_audio_mtok": "input_audio_tokens",
    "output_audio_mtok": "output_audio_tokens",
}


def plain(value):
    """Their data in the form of the JSON file."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name.rstrip("_"): plain(field) for name, field in fields.items() if field is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.time):
        return value.strftime("%H:%M:%SZ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if hasattr(value, "_values") or hasattr(value, "__dict__"):
        return {name: plain(field) for name, field in vars(value).items() if field is not None}
    return value


def names_of(rule):
    """The names of a model in addition to its id, invented where the rule leaves a part open."""
    for key, value in plain(rule).items():
        if key == "or":
            for one in rule.or_:
                yield from names_of(one)
        elif key == "equals":
            yield value
        elif key == "starts_with":
            yield from (value, f"{value}-2026-01-01")
        elif key == "ends_with":
            yield from (value, f"eu.{value}")
        elif key == "contains":
            yield from (value, f"eu.{value}-v7")


def prices_of(model, at):
    return model.get_prices(at) if hasattr(model, "get_prices") else model.prices


OURS = """
CREATE FUNCTION pg_temp.cost(usage jsonb, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (wallet.price_usage(usage, at => at)).cost;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""


def case_of(rng, provider, model, name, named):
    """A random usage of the model under a name, at a random time: ours and their cost. None if the model
    is not priced by the token."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(
        minutes=rng.randint(0, 60 * 24 * 300))
    fields = {field for field, value in vars(prices_of(model, at)).items() if value is not None}
    if "input_mtok" not in fields:
        return None
    meters = {"input_tokens": rng.choice([1_000, 40_000, 150_000, 300_000]) + rng.randint(0, 9_000),
              **({"output_tokens": rng.randint(0, 8_000)} if "output_mtok" in fields else {})}
    for field, meter in FIELDS.items():
        if field in fields and rng.random() < 0.5:
            meters[meter] = rng.randint(1, 9_000)
    get = lambda name: meters.get(name, 0)  # noqa: E731
    usage = Usage(
        input_tokens=sum(map(get, ("input_tokens", "cache_read_tokens", "cache_write_tokens", "input_audio_tokens"))),
        output_tokens=get("output_tokens") + get("output_audio_tokens"),
        **{name: get(name) for name in METERS if get(name)},
    )
    cost = calc_price(usage, name, provider_id=provider.id if named else None, genai_request_timestamp=at)
    asked = {**({"provider": provider.id} if named else {}), "model": name, **meters}
    return provider.id, asked, at, cost, fields


def cases_of(rng):
    """Every model by its id and by the names that its rule allows, with and without its provider."""
    ids = {model.id for provider in data.providers for model in provider.models}
    refused = collections.Counter()
    for provider in data.providers:
        for model in provider.models:
            others = sorted(set(names_of(model.match)) - {m.id for m in provider.models})
            asked = [(model.id, True)] * ROUNDS + [(name, True) for name in others]
            asked += [(name, False) for name in others if name not in ids]
            for name, named in asked:
                try:
                    case = case_of(rng, provider, model, name, named)
                except Exception as error:  # their calculator refuses the model
                    refused[f"{provider.id}: {type(error).__name__} {error}"[:110] if named else "a name that no provider has for its own"] += 1
                    continue
                if case is None:
                    break
                if name == model.id and case[3].model.id != model.id:
                    refused["its id matches another model of theirs first"] += 1
                    continue
                yield case
    for what, count in refused.most_common(8):
        print("  refused", count, what)


def main():
    seed = int(os.environ.get("WALLET_SEED") or time.time_ns())
    print(f"genai_oracle: WALLET_SEED={seed}")
    cases = list(cases_of(random.Random(seed)))
    feed = plain(data.providers)
    print(f"{sum(len(p.models) for p in data.providers)} models, {len(cases)} cases, "
          f"{sum('provider' not in usage for _, usage, *_ in cases)} of them without a provider")

    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        rows = connection.execute(
            "SELECT action, count(*) FROM wallet.import_prices('genai-prices', %s, effective_from => '2020-01-01Z') GROUP BY 1 ORDER BY 1",
            (json.dumps(feed),)).fetchall()
        print("imported:", dict(rows))
        for row in connection.execute(
            "SELECT note, count(*) FROM wallet.import_prices('genai-prices', %s, effective_from => '2020-01-01Z') WHERE action = 'skipped' GROUP BY 1 ORDER BY 2 DESC LIMIT 12",
            (json.dumps(feed),)).fetchall():
            print("  skipped", *row)
        connection.execute(OURS)
        connection.execute("CREATE TEMP TABLE cases (id int, usage jsonb, at timestamptz)")
        with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
            for number, (_, usage, at, _, _) in enumerate(cases):
                copy.write_row((number, json.dumps(usage), at))
        ours = dict(connection.execute("SELECT id, pg_temp.cost(usage, at) FROM cases").fetchall())
        connection.rollback()
    wrong, unknown = [], 0
    for number, (provider, usage, at, cost, fields) in enumerate(cases):
        try:
            if math.isclose(float(ours[number]), float(cost.total_price), rel_tol=1e-9, abs_tol=1e-12):
                continue
        except ValueError:
            if ours[number].startswith("WL005") and (cost.total_price == 0 or "provider" not in usage):
                unknown += 1  # unknown is not free, and not guessed where several providers may serve the name
                continue
        wrong.append((provider, usage, str(at), str(cost.total_price), cost.model.id, ours[number], sorted(fields)))
    print(f"{len(cases) - len(wrong) - unknown} agree within 1e-9, {unknown} are unknown to us, {len(wrong)} do not")
    for one in wrong[:25]:
        print("  not listed:", *one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
