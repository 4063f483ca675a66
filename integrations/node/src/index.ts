/** A prepaid wallet in PostgreSQL for AI usage: hold, call, settle. */

export {
  AccessDenied,
  ApprovalRequired,
  CardDataRefused,
  DeadlockDetected,
  type ErrorParts,
  FundingNotOpen,
  HoldExpired,
  HoldNotOpen,
  IdempotencyConflict,
  ImmutableLedger,
  InsufficientFunds,
  InvalidAmount,
  InvalidArgument,
  InvalidUsage,
  LimitExceeded,
  NotFound,
  NotInThisTree,
  NotPermitted,
  PriceNotFound,
  RateNotFound,
  TransactionConflict,
  VoucherNotValid,
  type WaitingParts,
  WalletError,
  WalletNotActive,
  WalletNotFound,
  WalletUnreachable,
} from './errors.js';
export { decimal } from './exact.js';
export type { Metadata, RequestOptions } from './lifetime.js';
export { type RequestContext, WalletRequest } from './request.js';
export {
  type Balance,
  Charge,
  Hold,
  type LimitCheck,
  type Line,
  type ModelChoice,
  Price,
} from './results.js';
export type { Retry } from './retry.js';
export { type FlushReport, Spool, type Spooled } from './spool.js';
export type * from './types.js';
export { Wallet, type WalletOptions, type WalletSettings } from './wallet.js';
export type { Receipt } from './wrap/call.js';
export { receipt, wrap } from './wrap/index.js';
export type { WrapOptions } from './wrap/options.js';
