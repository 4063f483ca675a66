/** A request: a hold on opening, and a settlement or a release on every way out. */

import { setTimeout as sleep } from 'node:timers/promises';
import { WalletError, WalletUnreachable } from './errors.js';
import { Lifetime, type Metadata, type Owner, type RequestOptions } from './lifetime.js';
import type { Charge, Hold } from './results.js';
import type { Statement } from './statements.js';
import type { HoldOptions, UsageOrAmount } from './types.js';

/** A wallet as requests use it. */
export interface Runner extends Owner {
  /** @internal */
  run<T>(statement: Statement<T>, client?: undefined, onBroken?: () => void): Promise<T>;
  /** @internal */
  book(statement: Statement<Charge>): Promise<Charge>;
}

/** The longest delay of a timer of JavaScript, in seconds. */
const LONGEST_TIMER = 2_000_000;

/**
 * A hold around a request. `wallet.request` opens and closes it; whoever opens it by hand with
 * `open` must `close` it.
 */
export class WalletRequest extends Lifetime {
  readonly #runner: Runner;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #settling: Promise<Charge> | undefined;

  constructor(
    runner: Runner,
    estimate: UsageOrAmount,
    options: RequestOptions,
    context: HoldOptions,
    private readonly given?: AbortSignal | null,
  ) {
    super(runner, estimate, options, context);
    this.#runner = runner;
  }

  /**
   * Aborts with the signal that the request was given, and where the request outlives its hold and
   * `beyond` is `'stop'`: pass it to the provider's call.
   */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Aborts `signal`. */
  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** Holds. `close` must follow. */
  async open(): Promise<this> {
    let hold: Hold | null = null;
    try {
      hold = await this.#runner.run(this.opening());
    } catch (error) {
      if (!(error instanceof WalletUnreachable) || this.#runner.fail === 'closed') throw error;
      this.offline = true;
    }
    if (hold !== null) await this.#admit(hold);
    if (this.hold !== null) this.#schedule();
    return this;
  }

  /** Goes on with the hold, or raises where that is not allowed. */
  async #admit(hold: Hold): Promise<void> {
    if (this.needsLook(hold)) {
      try {
        if (await this.#approved(hold)) await this.#take(hold);
      } catch (error) {
        if (this.letsGo(hold, error)) await this.void(Lifetime.reason(error));
        throw error;
      }
    }
    this.opened(hold);
  }

  /** Whether the hold was approved; false for an open one that needed no approval. */
  async #approved(hold: Hold): Promise<boolean> {
    for (;;) {
      let pause: number | null;
      let approved = false;
      try {
        const state = await this.#runner.run(this.#runner.calls.holdState(hold.holdId));
        approved = state?.approved ?? false;
        pause = this.look(hold, state);
      } catch (error) {
        pause = this.unseen(error);
      }
      if (pause === null) return approved;
      await this.#pause(pause);
    }
  }

  /** Waits, unless who asked for the request does not any more. */
  async #pause(seconds: number): Promise<void> {
    const signals = [this.signal, this.given].filter((one) => one != null);
    const signal = AbortSignal.any(signals);
    try {
      await sleep(seconds * 1000, undefined, { signal });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
  }

  async #take(hold: Hold): Promise<void> {
    let broken = false;
    const taken = await this.#runner.run(this.taking(hold), undefined, () => {
      broken = true;
    });
    this.took(taken, broken);
  }

  /** Books what was used and releases the rest. A second call returns the first result. */
  async settle(what: UsageOrAmount, metadata?: Metadata): Promise<Charge> {
    if (!this.closed) this.use(what, metadata);
    return await this.#settle();
  }

  async #settle(): Promise<Charge> {
    if (!this.claim()) return (await this.#settling) ?? this.again();
    this.#settling = this.#book();
    return await this.#settling;
  }

  async #book(): Promise<Charge> {
    this.#unschedule();
    try {
      this.charge = await this.#runner.book(this.settling());
      return this.charge;
    } catch (error) {
      this.settleFailed(error);
      throw error;
    }
  }

  /** Releases the hold; does nothing where the request is settled. */
  async void(reason = 'nothing used'): Promise<void> {
    if (!this.claim()) return;
    this.#unschedule();
    const statement = this.voiding(reason);
    if (statement === null) return;
    try {
      await this.#runner.run(statement);
    } catch (error) {
      if (!(error instanceof WalletError)) throw error;
      this.notVoided(error);
    }
  }

  /** Books use that turned up after the hold was released, once. */
  async chargeLate(what: UsageOrAmount, metadata?: Metadata): Promise<Charge> {
    this.charge = await this.#runner.book(this.charging(what, metadata));
    return this.charge;
  }

  /** Settles what was noted, or releases the hold. */
  async close(error?: unknown): Promise<void> {
    if (this.closed) {
      // Whoever settles gets to know of an error.
      await this.#settling?.catch(() => undefined);
    } else if (this.mustSettle()) {
      await this.#settle().catch(async (failed) => {
        // What the wallet refuses for good does not keep the money held.
        if (!this.mustSettle()) await this.void(Lifetime.reason(failed));
        throw failed;
      });
    } else {
      await this.void(Lifetime.reason(error));
    }
  }

  async #extend(): Promise<boolean> {
    const statement = this.extension();
    if (statement === null) return false;
    try {
      await this.#runner.run(statement);
    } catch (error) {
      this.notExtended(error);
      return false;
    }
    this.lasts();
    return true;
  }

  // The timer does not hold the request: one that nobody holds any more is not extended. It does
  // not keep the process alive either.
  #schedule(): void {
    const due = this.extendIn();
    if (due === null) {
      if (this.options.beyond === 'stop') this.#later(this.left(), (request) => request.#stop());
      return;
    }
    this.#later(due, async (request) => {
      const extended = await request.#extend();
      if (request.closed) return;
      if (extended) request.#schedule();
      else if (request.options.beyond === 'stop') {
        request.#later(request.left(), (one) => one.#stop());
      }
    });
  }

  #later(seconds: number, work: (request: WalletRequest) => unknown): void {
    const self = new WeakRef(this as WalletRequest);
    const delay = Math.min(Math.max(0, seconds), LONGEST_TIMER) * 1000;
    this.#timer = setTimeout(() => {
      const request = self.deref();
      if (request !== undefined && !request.closed) work(request);
    }, delay);
    this.#timer.unref();
  }

  #stop(): void {
    if (!this.closed) this.abort(this.expired());
  }

  #unschedule(): void {
    clearTimeout(this.#timer);
  }
}

/** What `wallet.request` takes besides the estimate and the body. */
export interface RequestContext extends HoldOptions, RequestOptions {
  /** Aborts the request's own `signal`. */
  signal?: AbortSignal;
}

/** Runs `body` within a request: it settles or releases on every way out. */
export async function within<T>(
  request: WalletRequest,
  body: (request: WalletRequest) => Promise<T> | T,
  signal: AbortSignal | undefined,
): Promise<T> {
  signal?.throwIfAborted();
  const forward = () => request.abort(signal?.reason);
  signal?.addEventListener('abort', forward, { once: true });
  try {
    await request.open();
    return await closing(request, body);
  } finally {
    signal?.removeEventListener('abort', forward);
  }
}

async function closing<T>(
  request: WalletRequest,
  body: (request: WalletRequest) => Promise<T> | T,
): Promise<T> {
  let result: T;
  try {
    request.signal.throwIfAborted();
    result = await aborted(request, (async () => body(request))());
  } catch (error) {
    await request.close(error);
    throw error;
  }
  await request.close();
  return result;
}

/** The result of `work`, or, when the signal has aborted and `grace` is over, its reason. */
async function aborted<T>(request: WalletRequest, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let wait: () => void = () => undefined;
  const over = new Promise<never>((_, reject) => {
    wait = () => {
      const after = () => reject(request.signal.reason);
      timer = setTimeout(after, request.options.grace * 1000);
    };
    request.signal.addEventListener('abort', wait, { once: true });
  });
  over.catch(() => undefined);
  if (request.signal.aborted) wait();
  try {
    return await Promise.race([work, over]);
  } finally {
    request.signal.removeEventListener('abort', wait);
    clearTimeout(timer);
  }
}
