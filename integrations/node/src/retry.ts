/** When a call is made again, and after which pause. Nothing here waits. */

import { TransactionConflict, WalletUnreachable } from './errors.js';

/**
 * At most `attempts` times, with pauses of a random length below `base`, `2 * base`, …, `cap`
 * seconds. A broken connection is tried `reconnects` times more: the key of the call makes that
 * safe.
 */
export interface Retry {
  /** How often a call is made at most (10). */
  attempts: number;
  /** Seconds below which the first pause is (0.01). */
  base: number;
  /** Seconds below which every pause is (1). */
  cap: number;
  /** How often a call is made again after a connection that broke (1). */
  reconnects: number;
}

/** The settings of a wallet that names none. */
export const RETRY: Retry = { attempts: 10, base: 0.01, cap: 1, reconnects: 1 };

/** The attempts of one call. */
export class Attempts {
  made = 0;
  #broken = 0;

  constructor(readonly retry: Retry) {}

  /** Seconds to wait before the next attempt, or null where there is none. */
  pauseAfter(error: unknown): number | null {
    this.made += 1;
    if (error instanceof TransactionConflict) {
      if (this.made >= this.retry.attempts) return null;
    } else if (error instanceof WalletUnreachable && error.sent) {
      this.#broken += 1;
      if (this.#broken > this.retry.reconnects) return null;
    } else {
      return null;
    }
    return Math.random() * Math.min(this.retry.cap, this.retry.base * 2 ** (this.made - 1));
  }
}
