/** The calls of one wallet as statements. Does no I/O. */

import { randomUUID } from 'node:crypto';
import type { Charge, Hold, HoldState, LimitCheck, ModelChoice, Price } from './results.js';
import { type Arguments, CONTEXT, call, holdState, type Statement } from './statements.js';
import type { Attribution, Usage, UsageOrAmount } from './types.js';

/** A key for a call that was given none. */
export function newKey(): string {
  return randomUUID();
}

/** `userId` as `user_id`. */
function snake(options: object): Arguments {
  const named = Object.entries(options).map(([name, value]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value,
  ]);
  return Object.fromEntries(named);
}

/** A usage object or an amount as the argument that it is. */
export function about(what: UsageOrAmount | undefined): Arguments {
  if (what === undefined || what === null) return {};
  if (typeof what === 'object') return { usage: what };
  if (typeof what === 'string' || typeof what === 'bigint') return { amount: what };
  throw new TypeError("an amount is a string such as '0.25' or a bigint, never a float");
}

/** Builds the statements of a wallet. */
export class Calls {
  readonly #given: Arguments;

  constructor(
    readonly wallet: string,
    attribution: Attribution,
  ) {
    this.#given = snake(attribution);
  }

  #call(name: string, given: Arguments, options: object): Statement<any> {
    const { client: _, ...rest } = options as { client?: unknown };
    const context: Arguments = {};
    for (const attribute of CONTEXT[name] ?? []) context[attribute] = this.#given[attribute];
    return call(name, { wallet: this.wallet, ...context, ...given, ...defined(snake(rest)) });
  }

  // A call without a key gets one, so that it can be made again.
  #write(name: string, given: Arguments, options: object & { idempotencyKey?: string }) {
    const idempotencyKey = options.idempotencyKey ?? newKey();
    return this.#call(name, given, { ...options, idempotencyKey });
  }

  charge(what: UsageOrAmount, options: object): Statement<Charge> {
    return this.#write('charge', about(what), options);
  }

  hold(what: UsageOrAmount, options: object): Statement<Hold> {
    return this.#write('hold', about(what), options);
  }

  settle(holdId: string, what: UsageOrAmount, options: object): Statement<Charge> {
    return this.#write('settle', { hold_id: holdId, ...about(what) }, options);
  }

  void(holdId: string, reason: string | undefined, options: object): Statement<Hold> {
    return this.#write('void', { hold_id: holdId, reason }, options);
  }

  extend(holdId: string, ttl: number, options: object): Statement<Hold> {
    return this.#write('extend_hold', { hold_id: holdId, ttl }, options);
  }

  approve(holdId: string, options: object): Statement<Hold> {
    return this.#write('approve_hold', { hold_id: holdId }, options);
  }

  deny(holdId: string, reason: string | undefined, options: object): Statement<Hold> {
    return this.#write('deny_hold', { hold_id: holdId, reason }, options);
  }

  holdState(holdId: string): Statement<HoldState | null> {
    return holdState(this.wallet, holdId);
  }

  chooseModel(
    usage: Usage,
    models: readonly string[],
    options: object,
  ): Statement<readonly ModelChoice[]> {
    return this.#call('choose_model', { usage, models }, options);
  }

  checkLimits(what: UsageOrAmount, options: object): Statement<readonly LimitCheck[]> {
    return this.#call('check_limits', about(what), options);
  }

  priceUsage(usage: Usage, options: object): Statement<Price> {
    return this.#call('price_usage', { usage }, options);
  }

  usageHeaders(entryId: string): Statement<Record<string, string>> {
    return this.#call('usage_headers', { entry_id: entryId }, {});
  }
}

/** Options that are given as undefined do not hide those of the wallet. */
function defined(given: Arguments): Arguments {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
