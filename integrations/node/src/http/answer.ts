/** What the middlewares share: what a request is charged, and the answer to a refused one. */

import * as errors from '../errors.js';
import type { RequestOptions } from '../lifetime.js';
import type { WalletRequest } from '../request.js';
import type { UsageOrAmount } from '../types.js';
import type { Wallet } from '../wallet.js';

/** What is known of a request before it runs. */
export interface Charged {
  /** The wallet, bound to the request's user, team and so on. */
  wallet: Wallet;
  /** What to hold: a usage object or an amount. */
  estimate: UsageOrAmount;
  /** The idempotency key, such as a header of the request. */
  key?: string;
  options?: RequestOptions;
}

/** Says what a request is charged; null lets it through. */
export type Charge<R> = (request: R) => Charged | null | Promise<Charged | null>;

/** @internal */
export function requestOf(charged: Charged, signal: AbortSignal): WalletRequest {
  const { wallet, estimate, key, options } = charged;
  return wallet.newRequest(estimate, { ...options, idempotencyKey: key, signal });
}

const STATUS: [abstract new (...given: any[]) => errors.WalletError, number][] = [
  [errors.InsufficientFunds, 402],
  [errors.LimitExceeded, 429],
  [errors.NotPermitted, 403],
  [errors.WalletNotActive, 403],
  [errors.WalletNotFound, 403],
  [errors.ApprovalRequired, 403],
  [errors.HoldNotOpen, 409],
  [errors.IdempotencyConflict, 409],
];

/** The HTTP status of an error: 402 for funds, 429 for limits. */
export function statusOf(error: errors.WalletError): number {
  if (error instanceof errors.WalletUnreachable) return 503;
  return STATUS.find(([kind]) => error instanceof kind)?.[1] ?? 500;
}

/** An answer to a request that the wallet refuses. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: { error: { code: string | null; message: string; hold_id?: string } };
}

/** Status, headers and body of the answer to a request that the wallet refuses. */
export function answerTo(error: errors.WalletError): Answer {
  const status = statusOf(error);
  const seconds = status === 429 ? error.retryAfter() : null;
  const headers: Record<string, string> = seconds === null ? {} : { 'Retry-After': `${seconds}` };
  // What the server says of its own state is not for clients.
  const message = status < 500 ? error.message : 'the wallet cannot be charged';
  const body =
    error instanceof errors.ApprovalRequired
      ? { code: 'approval_required', message, hold_id: error.holdId }
      : { code: error.sqlstate, message };
  return { status, headers, body: { error: body } };
}
