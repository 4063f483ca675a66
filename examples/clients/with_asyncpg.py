"""Charges a wallet in the transaction that stores the answer, with asyncpg.

The connection is configured by PGHOST, PGDATABASE and so on.
"""
import asyncio
import json
from decimal import Decimal

import asyncpg

CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)"
ANSWER = "INSERT INTO answers (request, answer) VALUES ($1, $2)"


async def charge(db, request, answer, cost):
    """Stores the charge and the answer, or neither. NUMERIC is a Decimal, never a float."""
    for attempt in range(5):
        try:
            async with db.transaction():
                charged = await db.fetchrow(CHARGE, cost, request)
                await db.execute(ANSWER, request, answer)
            return charged
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            # A conflict with another transaction: run it again with the same key.
            if attempt == 4:
                raise
            await asyncio.sleep(0.01 * 2**attempt)


async def main():
    # LISTEN needs a connection of its own, open as long as the program listens.
    listener = await asyncpg.connect()
    heard = asyncio.Queue()
    await listener.add_listener("wallet_events", lambda connection, pid, channel, payload: heard.put_nowait(payload))
    db = await asyncpg.connect()

    cost, balance = await charge(db, "req-1", "forty-two", Decimal("0.000000000001"))
    print(f"charged {cost:f}, {balance:f} is left")

    event = json.loads(await heard.get())
    print(f"heard {event['event']} of {event['wallet']}")

    try:
        await charge(db, "req-2", "too dear", Decimal(2_000_000_000_000_000))
    except asyncpg.PostgresError as error:
        print(f"{error.sqlstate}: {error.message}")
        print(f"DETAIL: {error.detail}")
        print(f"HINT: {error.hint}")

    await listener.close()
    await db.close()


asyncio.run(main())
