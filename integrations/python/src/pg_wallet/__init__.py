"""A prepaid wallet in PostgreSQL for AI usage: hold, call, settle."""

from .aio import AsyncWallet
from .aio_request import AsyncRequest
from .attribution import Attribution
from .client import Wallet
from .errors import (
    AccessDenied,
    AlreadyExists,
    ApprovalRequired,
    CardDataRefused,
    DeadlockDetected,
    ExtensionOutdated,
    FundingNotOpen,
    HoldExpired,
    HoldNotOpen,
    IdempotencyConflict,
    ImmutableLedger,
    InsufficientFunds,
    InternalError,
    InvalidAmount,
    InvalidArgument,
    InvalidUsage,
    LimitExceeded,
    NotFound,
    NotInThisTree,
    NotPermitted,
    NotSupported,
    PriceNotFound,
    RateNotFound,
    TransactionConflict,
    VoucherNotValid,
    WalletError,
    WalletNotActive,
    WalletNotFound,
    WalletUnreachable,
)
from .lifetime import RequestOptions
from .request import Request
from .results import Balance, Charge, Hold, LimitCheck, Line, ModelChoice, Price
from .retry import Retry
from .spool import FlushReport, Spool
from .wrap import NotMetered, WrapOptions, wrap

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "ApprovalRequired",
    "AsyncRequest",
    "AsyncWallet",
    "Attribution",
    "Balance",
    "CardDataRefused",
    "Charge",
    "DeadlockDetected",
    "ExtensionOutdated",
    "FlushReport",
    "FundingNotOpen",
    "Hold",
    "HoldExpired",
    "HoldNotOpen",
    "IdempotencyConflict",
    "ImmutableLedger",
    "InsufficientFunds",
    "InternalError",
    "InvalidAmount",
    "InvalidArgument",
    "InvalidUsage",
    "LimitCheck",
    "LimitExceeded",
    "Line",
    "ModelChoice",
    "NotFound",
    "NotInThisTree",
    "NotMetered",
    "NotPermitted",
    "NotSupported",
    "Price",
    "PriceNotFound",
    "RateNotFound",
    "Request",
    "RequestOptions",
    "Retry",
    "Spool",
    "TransactionConflict",
    "VoucherNotValid",
    "Wallet",
    "WalletError",
    "WalletNotActive",
    "WalletNotFound",
    "WalletUnreachable",
    "WrapOptions",
    "wrap",
]
