/** The life of a request: a hold, then one settlement or one release. Does no I/O. */

import { about, type Calls, newKey } from './calls.js';
import {
  ApprovalRequired,
  HoldExpired,
  HoldNotOpen,
  WalletError,
  WalletUnreachable,
} from './errors.js';
import type { Charge, Hold, HoldState } from './results.js';
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
  /**
   * What a request does whose hold waits for approval: `'raise'` ApprovalRequired and leave the
   * hold, or `'wait'` until it is approved, denied, voided or expired.
   */
  approval?: 'raise' | 'wait';
  /** How long it is between two looks at a hold that is waited for (2). */
  poll?: number;
  /** Goes on with an approved hold that another request took, in a job that died (false). */
  resume?: boolean;
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
  #began = now();
  #taken: Hold | null = null;
  #seenAt = now();
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
      approval: 'raise',
      poll: 2,
      resume: false,
      ...(Object.fromEntries(given) as RequestOptions),
    };
    const { approval } = this.options;
    if (approval !== 'raise' && approval !== 'wait') {
      throw new TypeError("approval is 'raise' or 'wait'");
    }
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
    if (this.#taken !== null) {
      this.#began = now();
      this.hold = hold.at(this.#taken);
    } else {
      if (hold.replayed && hold.status !== 'open') {
        this.#claimed = true;
        throw this.refused(hold.status);
      }
      this.hold = hold;
    }
    this.lasts();
  }

  private refused(status: string): HoldNotOpen {
    const hint =
      status === 'open'
        ? 'Wait for it, or go on with resume: true if it has died.'
        : 'Use its stored answer, or begin again with another key.';
    return new HoldNotOpen(`the request with the key "${this.key}" is ${status}`, { hint });
  }

  // The approval. A hold that waits is never extended: it ends by itself.

  /** Whether the hold waits for approval, or may have waited before this request. */
  protected needsLook(hold: Hold): boolean {
    return hold.status === 'waiting' || (hold.replayed && hold.status === 'open');
  }

  /** Seconds until the next look; null for an open hold. Raises where there is no use. */
  protected look(hold: Hold, state: HoldState | null): number | null {
    this.#seenAt = now();
    const status = state?.status ?? 'gone';
    if (status === 'open') return null;
    if (state === null || status !== 'waiting') throw this.refused(status);
    if (this.options.approval === 'wait') return this.options.poll;
    throw new ApprovalRequired(`hold ${hold.holdId} of ${state.amount} waits for approval`, {
      holdId: hold.holdId,
      amount: state.amount,
      expiresAt: state.expiresAt,
      idempotencyKey: this.key,
      hint: 'Repeat the request with the same idempotency key once it is approved.',
    });
  }

  /** Seconds until the next look after one that failed; raises its error where none follows. */
  protected unseen(error: unknown): number {
    const patient = this.options.approval === 'wait' && now() - this.#seenAt <= this.options.ttl;
    if (!(error instanceof WalletUnreachable) || !patient) throw error;
    return this.options.poll;
  }

  /** Gives an approved hold its time again. Of all requests with its key one gets it. */
  protected taking(hold: Hold): Statement<Hold> {
    const idempotencyKey = `approved/${hold.holdId}`;
    return this.owner.calls.extend(hold.holdId, this.options.ttl, { idempotencyKey });
  }

  protected took(taken: Hold, broken: boolean): void {
    if (taken.replayed && !broken && !this.options.resume) throw this.refused('open');
    this.#taken = taken;
  }

  /**
   * Whether a request that ends before its hold was approved releases the hold. One that asks for
   * approval leaves it, so that it can be approved.
   */
  protected letsGo(hold: Hold, error: unknown): boolean {
    const mine = this.#taken !== null || !hold.replayed;
    if (mine && !(error instanceof ApprovalRequired || error instanceof HoldNotOpen)) {
      this.hold = hold;
      return true;
    }
    this.#claimed = true;
    return false;
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
