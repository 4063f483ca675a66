"""The LiteLLM proxy: `callbacks: pg_wallet.litellm.handler`."""

from .config import Settings
from .logger import WalletLogger, handler

__all__ = ["Settings", "WalletLogger", "handler"]
