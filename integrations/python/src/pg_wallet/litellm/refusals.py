"""What a client of the proxy hears when the wallet refuses."""

from __future__ import annotations

from litellm.proxy._types import ProxyException

from .. import errors
from ..errors import WalletError
from ..wrap.paths import NotMetered

_STATUS: list[tuple[type[WalletError], int, str]] = [
    (errors.InsufficientFunds, 402, "insufficient_funds"),
    (errors.LimitExceeded, 429, "limit_exceeded"),
    (errors.NotPermitted, 403, "not_permitted"),
    (errors.WalletNotActive, 403, "wallet_not_active"),
    (errors.WalletNotFound, 403, "wallet_not_found"),
    (errors.PriceNotFound, 400, "price_not_found"),
    (errors.InvalidUsage, 400, "invalid_usage"),
    (errors.InvalidArgument, 400, "invalid_argument"),
    (errors.CardDataRefused, 400, "card_data_refused"),
    (errors.ApprovalRequired, 403, "approval_required"),
    (NotMetered, 400, "not_metered"),
    (errors.HoldNotOpen, 409, "hold_not_open"),
    (errors.IdempotencyConflict, 409, "idempotency_conflict"),
    (errors.WalletUnreachable, 503, "wallet_unreachable"),
]


def refusal(error: WalletError) -> ProxyException:
    """An error of the wallet in the form of OpenAI's API."""
    status, kind = 500, "wallet_error"
    for cls, code, name in _STATUS:
        if isinstance(error, cls):
            status, kind = code, name
            break
    headers = {}
    seconds = error.retry_after() if status == 429 else None
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    message = "the wallet does not answer" if status == 503 else error.message
    return ProxyException(message=message, type=kind, param=None, code=status, headers=headers)
