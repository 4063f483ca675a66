/** The life of a request: a hold, then one settlement or one release. Does no I/O. */

import { about, type Calls, newKey } from './calls.js';
import { HoldExpired, HoldNotOpen, WalletError, WalletUnreachable } from './errors.js';
import type { Charge, Hold } from './results.js';
import type { Statement } from './statements.js';
import { type Level, log } from './telemetry.js';
import type { Fail, HoldOptions, Logger, UsageOrAmount } from './types.js';

/** How a request holds and settles. Durations are in seconds. */
export interface RequestOptions {
  /** How long the hold lasts, and what each extension adds (600). */
  ttl?: number;
  /** Extends the hold in the background while the request runs (true). */
  extend?: boolean;
  /** After how long the hold is not extended any more; without end if left out. */
  longest?: number;
  /**
   * What a request does whose hold has ended: `'continue'` and settle late, or `'stop'`: `signal`
   * aborts, and `check()` and streams raise HoldExpired.
   */
  beyond?: 'continue' | 'stop';
  /**
   * What becomes of use that costs more than is held, as in `settle`. `'debt'`, the default, books
   * it whatever the balance is, because the provider has been paid.
   */
  over?: 'charge' | 'cap' | 'debt';
  /**
   * What becomes of the held amount if the process dies before it settles: `'release'`, or
   * `'charge'`, which books it when the hold expires.
   */
  onExpiry?: 'release' | 'charge';
  /** How long the body of `wallet.request` may go on after its signal has aborted (5). */
  grace?: number;
}

/** What a request needs of its wallet. */
export interface Owner {
  readonly wallet: string;
  /** @internal */
  readonly calls: Calls;
  readonly fail: Fail;
  readonly logger?: Logger;
}

/** Metadata of an entry. */
export type Metadata = Record<string, unknown>;

interface Used {
  what: UsageOrAmount;
  metadata: Metadata | undefined;
}

const now = () => performance.now() / 1000;

/** What is known of a request, and the statements that move it on. */
export class Lifetime {
  /** How the request holds and settles. */
  readonly options: Required<Omit<RequestOptions, 'longest'>> & { longest?: number };
  /** The idempotency key of hold and settlement. */
  readonly key: string;
  /** The hold, once it is made. */
  hold: Hold | null = null;
  /** What was booked, once it is. */
  charge: Charge | null = null;
  /** Whether the database did not answer to the hold, and the request goes on without one. */
  offline = false;
  protected readonly context: HoldOptions;
  protected used: Used | null = null;
  #claimed = false;
  #voided = false;
  #rejected = false;
  #ends = now();
  readonly #began = now();
  readonly #beganAt = new Date();

  constructor(
    protected readonly owner: Owner,
    readonly estimate: UsageOrAmount,
    options: RequestOptions,
    context: HoldOptions,
  ) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.options = {
      ttl: context.ttl ?? 600,
      extend: true,
      beyond: 'continue',
      over: 'debt',
      onExpiry: context.onExpiry ?? 'release',
      grace: 5,
      ...(Object.fromEntries(given) as RequestOptions),
    };
    this.key = context.idempotencyKey ?? newKey();
    this.context = { ...context, idempotencyKey: this.key };
  }

  /** Whether the request is settled or released, or is being so. */
  get closed(): boolean {
    return this.#claimed;
  }

  /** The X-Usage headers of the settlement; empty before it. */
  headers(): Record<string, string> {
    return this.charge?.headers() ?? {};
  }

  /** Raises HoldExpired where the hold has ended and `beyond` is `'stop'`. */
  check(): void {
    if (this.options.beyond === 'stop' && this.hold !== null && now() >= this.#ends) {
      throw this.expired();
    }
  }

  /** Notes what has been used so far: it is settled where the request ends without more. */
  use(what: UsageOrAmount, metadata?: Metadata): void {
    if (Object.keys(about(what)).length === 0) throw new TypeError('give a usage or an amount');
    this.used = { what, metadata };
  }

  protected expired(): HoldExpired {
    return new HoldExpired('the request outlived its hold', { hint: 'Raise ttl or longest.' });
  }

  protected log(level: Level, event: string, fields: Metadata): void {
    log(this.owner.logger, level, event, { wallet: this.owner.wallet, ...fields });
  }

  // The hold.

  protected opening(): Statement<Hold> {
    const { ttl, onExpiry } = this.options;
    return this.owner.calls.hold(this.estimate, { ...this.context, ttl, onExpiry });
  }

  protected opened(hold: Hold): void {
    if (hold.replayed && hold.status !== 'open') {
      this.#claimed = true;
      throw new HoldNotOpen(`the request with the key "${this.key}" is ${hold.status}`, {
        hint: 'Use its stored answer, or begin again with another key.',
      });
    }
    this.hold = hold;
    this.lasts();
  }

  protected lasts(): void {
    this.#ends = now() + this.options.ttl;
  }

  /** Seconds until the hold ends. */
  protected left(): number {
    return this.#ends - now();
  }

  /** Seconds until the hold is to be extended; null where it is not. */
  protected extendIn(): number | null {
    if (!this.options.extend || this.hold === null || this.closed) return null;
    const due = this.#ends - this.options.ttl / 2;
    const { longest } = this.options;
    if (longest !== undefined && due > this.#began + longest) return null;
    return Math.max(0, due - now());
  }

  protected extension(): Statement<Hold> | null {
    if (this.closed || this.hold === null) return null;
    return this.owner.calls.extend(this.hold.holdId, this.options.ttl, {});
  }

  protected notExtended(error: unknown): void {
    if (!this.closed) this.log('warn', 'hold not extended', { error: String(error) });
  }

  // The end.

  /** True once: whoever gets it settles or releases. */
  protected claim(): boolean {
    if (this.#claimed) return false;
    this.#claimed = true;
    return true;
  }

  protected settling(): Statement<Charge> {
    const { what, metadata } = this.used!;
    if (this.hold === null) return this.charging(what, metadata);
    const options = { ...this.ending(metadata), over: this.options.over };
    return this.owner.calls.settle(this.hold.holdId, what, options);
  }

  /** A charge that says what the hold said, or would have said. */
  protected charging(what: UsageOrAmount, metadata: Metadata | undefined): Statement<Charge> {
    const { allowPartial: _, ttl: __, onExpiry: ___, ...context } = this.context;
    const options = { eventAt: this.#beganAt, ...context, ...this.ending(metadata) };
    return this.owner.calls.charge(this.completed(what), options);
  }

  private ending(metadata: Metadata | undefined) {
    const given = { ...this.context.metadata, ...metadata };
    return {
      idempotencyKey: this.key,
      actor: this.context.actor,
      metadata: Object.keys(given).length > 0 ? given : undefined,
    };
  }

  /** The usage with the names and conditions of the estimate that it does not say itself. */
  private completed(what: UsageOrAmount): UsageOrAmount {
    if (typeof what !== 'object' || Array.isArray(what)) return what;
    if (typeof this.estimate !== 'object' || Array.isArray(this.estimate)) return what;
    const kinds = ['string', 'boolean'];
    const said = Object.entries(this.estimate).filter(([, value]) => kinds.includes(typeof value));
    return { ...Object.fromEntries(said), ...what };
  }

  /** Lets the end be tried again where trying helps. */
  protected settleFailed(error: unknown): void {
    // Another attempt does not help against what cannot be sent either.
    this.#rejected ||= error instanceof WalletError || error instanceof TypeError;
    if (error instanceof WalletError) {
      const { what } = this.used!;
      this.log('error', 'usage not booked', {
        key: this.key,
        ...about(what),
        sqlstate: error.sqlstate,
        error: error.message,
      });
    }
    this.#claimed = false;
  }

  protected mustSettle(): boolean {
    return this.used !== null && !this.#rejected;
  }

  protected voiding(reason: string): Statement<Hold> | null {
    this.#voided = true;
    if (this.hold === null) return null;
    return this.owner.calls.void(this.hold.holdId, reason, { idempotencyKey: this.key });
  }

  /** A hold that cannot be released ends by itself. */
  protected notVoided(error: unknown): void {
    const level = error instanceof WalletUnreachable ? 'warn' : 'info';
    this.log(level, 'hold not released', { error: String(error) });
  }

  /** The answer to a second settlement. */
  protected again(): Charge {
    if (this.charge !== null) return this.charge;
    throw new HoldNotOpen(this.#voided ? 'the request was released' : 'it is being settled');
  }

  /** The name of an error alone: a message may repeat the prompt. */
  protected static reason(error: unknown): string {
    if (error === undefined) return 'nothing used';
    return error instanceof Error ? error.name : typeof error;
  }
}
