/** The wallet: its calls, each a transaction of its own or a part of the caller's. */

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Calls } from './calls.js';
import {
  fromDriver,
  unreachable,
  WalletError,
  WalletNotFound,
  WalletUnreachable,
} from './errors.js';
import { type RequestContext, type Runner, WalletRequest, within } from './request.js';
import {
  type Balance,
  type Charge,
  type Hold,
  type LimitCheck,
  type ModelChoice,
  type Price,
  SPOOLED,
} from './results.js';
import { Attempts, RETRY, type Retry } from './retry.js';
import { type FlushReport, Spool, type Spooled, statementOf } from './spool.js';
import { balance, type Statement } from './statements.js';
import { facts, type Level, log, span } from './telemetry.js';
import type {
  Attribution,
  ChargeOptions,
  CheckOptions,
  ChooseOptions,
  Common,
  Connection,
  Fail,
  HoldOptions,
  InTransaction,
  Logger,
  Pool,
  PooledClient,
  PriceOptions,
  SettleOptions,
  Usage,
  UsageOrAmount,
} from './types.js';

/** How a wallet makes its calls. */
export interface WalletSettings {
  /** While the database does not answer: refuse (`'closed'`), or go on and spool (`'open'`). */
  fail?: Fail;
  /** A local SQLite file for usage that could not be booked. */
  spool?: Spool | string;
  /** How often, and after which pauses, a call is made again. */
  retry?: Partial<Retry>;
  /** Seconds that a call waits for a connection of the pool; without it the pool's own setting. */
  timeout?: number;
  /**
   * Prepares statements on the connections of the pool (true). A pooler between that does not know
   * prepared statements, such as PgBouncer before 1.21, needs false.
   */
  prepare?: boolean;
  /** Where lines are written: a logger as of pino, or `console`. */
  logger?: Logger;
}

/** What a wallet is made with. */
export interface WalletOptions extends Attribution, WalletSettings {}

// A pool raises the errors of idle connections as events, which end the process where nobody
// listens. They need no care: the next call gets another connection.
const LISTENING = new WeakSet<Pool>();

/**
 * A wallet, used through a pool of `pg`.
 *
 * Every call is a transaction of its own, made again after 40001, 40P01 and a broken connection,
 * with the same idempotency key. With `client` it is part of the caller's transaction instead, and
 * nothing is made again: run that transaction again with the same keys.
 */
export class Wallet implements Runner {
  /** @internal */
  readonly calls: Calls;
  /** On whose account the wallet is used. */
  readonly attribution: Attribution;
  /** What happens while the database does not answer. */
  readonly fail: Fail;
  /** Where usage waits that could not be booked. */
  readonly spool: Spool | undefined;
  readonly logger: Logger | undefined;
  readonly #retry: Retry;
  readonly #timeout: number | undefined;
  readonly #prepare: boolean;

  constructor(
    readonly pool: Pool,
    readonly wallet: string,
    options: WalletOptions = {},
  ) {
    const { fail = 'closed', spool, retry, timeout, prepare, logger, ...attribution } = options;
    if (fail !== 'closed' && fail !== 'open') throw new TypeError("fail is 'closed' or 'open'");
    if (fail === 'open' && spool === undefined) throw new TypeError("fail: 'open' needs a spool");
    this.fail = fail;
    this.spool = typeof spool === 'string' ? new Spool(spool) : spool;
    this.logger = logger;
    this.#retry = { ...RETRY, ...retry };
    this.#timeout = timeout;
    this.#prepare = prepare ?? true;
    // The key is a secret: nothing that prints a wallet shows it.
    this.attribution = { ...attribution };
    Object.defineProperty(this.attribution, 'key', { value: attribution.key, enumerable: false });
    this.calls = new Calls(wallet, attribution);
    if (!LISTENING.has(pool)) {
      LISTENING.add(pool);
      pool.on('error', (error) =>
        this.#log('info', 'idle connection lost', { error: String(error) }),
      );
    }
  }

  /** The same wallet for another user, team, key, service, tags, address, device or actor. */
  bind(changes: Attribution & { wallet?: string }): Wallet {
    const { wallet = this.wallet, ...rest } = changes;
    return new Wallet(this.pool, wallet, {
      ...this.attribution,
      key: this.attribution.key,
      ...rest,
      fail: this.fail,
      spool: this.spool,
      retry: this.#retry,
      timeout: this.#timeout,
      prepare: this.#prepare,
      logger: this.logger,
    });
  }

  /** Takes the cost of a usage, or an amount. */
  async charge(what: UsageOrAmount, options: ChargeOptions & InTransaction = {}): Promise<Charge> {
    return await this.book(this.calls.charge(what, options), options.client);
  }

  /** Sets the price of an estimate, or an amount, aside. */
  async hold(what: UsageOrAmount, options: HoldOptions & InTransaction = {}): Promise<Hold> {
    return await this.run(this.calls.hold(what, options), options.client);
  }

  /** Books the use of a hold and releases the rest. */
  async settle(
    holdId: string,
    what: UsageOrAmount,
    options: SettleOptions & InTransaction = {},
  ): Promise<Charge> {
    return await this.book(this.calls.settle(holdId, what, options), options.client);
  }

  /** Releases a hold. */
  async void(
    holdId: string,
    options: Common & InTransaction & { reason?: string } = {},
  ): Promise<Hold> {
    const { reason, ...rest } = options;
    return await this.run(this.calls.void(holdId, reason, rest), options.client);
  }

  /** Extends a hold to `ttl` seconds from now; never shortens it. */
  async extend(holdId: string, ttl = 600, options: Common & InTransaction = {}): Promise<Hold> {
    return await this.run(this.calls.extend(holdId, ttl, options), options.client);
  }

  /** Approves a hold that waits for approval. The database role needs the level billing. */
  async approveHold(holdId: string, options: Common & InTransaction = {}): Promise<Hold> {
    return await this.run(this.calls.approve(holdId, options), options.client);
  }

  /** Denies a hold that waits for approval: it is voided. */
  async denyHold(
    holdId: string,
    options: Common & InTransaction & { reason?: string } = {},
  ): Promise<Hold> {
    const { reason, ...rest } = options;
    return await this.run(this.calls.deny(holdId, reason, rest), options.client);
  }

  /** The cost of a usage with each model; the first that is allowed is `chosen`. */
  async chooseModel(
    usage: Usage,
    models: readonly string[],
    options: ChooseOptions & InTransaction = {},
  ): Promise<readonly ModelChoice[]> {
    return await this.run(this.calls.chooseModel(usage, models, options), options.client);
  }

  /** What the balance and every limit that applies would say. Books nothing. */
  async checkLimits(
    what: UsageOrAmount = '0',
    options: CheckOptions & InTransaction = {},
  ): Promise<readonly LimitCheck[]> {
    return await this.run(this.calls.checkLimits(what, options), options.client);
  }

  /** What a usage would cost this wallet. Books nothing. */
  async priceUsage(usage: Usage, options: PriceOptions & InTransaction = {}): Promise<Price> {
    return await this.run(this.calls.priceUsage(usage, options), options.client);
  }

  /** The wallet's money. */
  async balance(options: InTransaction = {}): Promise<Balance> {
    const found = await this.run(balance(this.wallet), options.client);
    if (found === null) throw new WalletNotFound(`wallet "${this.wallet}" does not exist`);
    return found;
  }

  /** The headers of a charge, with those of limits. */
  async usageHeaders(
    entryId: string,
    options: InTransaction = {},
  ): Promise<Record<string, string>> {
    return await this.run(this.calls.usageHeaders(entryId), options.client);
  }

  /**
   * Holds the estimate, runs `body`, and settles or releases on every way out.
   *
   * `body` settles with `r.settle(usage)`, or notes with `r.use(usage)` what has been used so far.
   * Without either the hold is released.
   */
  async request<T>(
    estimate: UsageOrAmount,
    body: (request: WalletRequest) => Promise<T> | T,
    options: RequestContext = {},
  ): Promise<T> {
    return await within(this.newRequest(estimate, options), body, options.signal);
  }

  /** A request that the caller opens and closes: for middleware, where no function is around it. */
  newRequest(estimate: UsageOrAmount, options: RequestContext = {}): WalletRequest {
    const { signal, ttl, extend, longest, beyond, over, grace, ...rest } = options;
    const { approval, poll, resume, ...context } = rest;
    return new WalletRequest(
      this,
      estimate,
      { ttl, extend, longest, beyond, over, grace, approval, poll, resume },
      context,
      signal,
    );
  }

  /** Books what is in the spool. What the wallet refuses stays there with the error. */
  async flushSpool(): Promise<FlushReport> {
    const report = { booked: 0, refused: 0, left: 0 };
    const { spool } = this;
    if (spool === undefined) return report;
    if (!spool.flushing) {
      spool.flushing = true;
      try {
        for (let after = 0; ; ) {
          const row = spool.rows(after, 1)[0];
          if (row === undefined) break;
          after = row.id;
          if (await this.#flushed(spool, row)) report.booked += 1;
          else report.refused += 1;
        }
      } finally {
        spool.flushing = false;
      }
    }
    return { ...report, left: spool.length };
  }

  async #flushed(spool: Spool, row: Spooled): Promise<boolean> {
    try {
      await this.run(statementOf(row));
    } catch (error) {
      // Keeps what the wallet refuses; ends the pass where the wallet does not answer.
      if (!(error instanceof WalletError) || error instanceof WalletUnreachable) throw error;
      spool.refused(row, `${error.sqlstate}: ${error.message}`);
      this.#log('error', 'spooled call refused', {
        wallet: row.wallet,
        function: row.function,
        sqlstate: error.sqlstate,
        error: error.message,
      });
      return false;
    }
    spool.booked(row);
    return true;
  }

  /** @internal */
  async book(statement: Statement<Charge>, client?: Connection): Promise<Charge> {
    const { spool } = this;
    let charge: Charge;
    try {
      charge = await this.run(statement, client);
    } catch (error) {
      // What a hold was made for has been used by the time of `settle`: with a spool it is kept in
      // both modes. A new charge is kept with `fail: 'open'` alone.
      const spools = this.fail === 'open' || statement.function === 'settle';
      if (!(error instanceof WalletUnreachable) || client || !spool || !spools) throw error;
      spool.add(statement);
      this.#log('warn', 'spooled', { function: statement.function });
      return SPOOLED;
    }
    if (client === undefined && spool !== undefined) this.#flushSoon(spool);
    return charge;
  }

  /** The database answers again: books what waits, in the background. */
  #flushSoon(spool: Spool): void {
    if (spool.flushing || !spool.waiting()) return;
    this.flushSpool().catch((error) =>
      this.#log('info', 'the spool is flushed later', { error: String(error) }),
    );
  }

  /** @internal */
  async run<T>(statement: Statement<T>, client?: Connection, onBroken?: () => void): Promise<T> {
    return await span(statement.function, this.wallet, async () => {
      const rows = client
        ? await this.#once(statement, client)
        : await this.#again(statement, onBroken);
      const result = statement.read(rows);
      this.#log('debug', statement.function, { function: statement.function, ...facts(result) });
      return result;
    });
  }

  async #once(statement: Statement<unknown>, client: Connection): Promise<any[]> {
    try {
      return (await client.query(statement.sql, statement.parameters)).rows;
    } catch (error) {
      const mapped = fromDriver(error);
      this.#refused(statement, mapped);
      throw mapped;
    }
  }

  async #again(statement: Statement<unknown>, onBroken?: () => void): Promise<any[]> {
    const attempts = new Attempts(this.#retry);
    for (;;) {
      try {
        return await this.#fetch(statement);
      } catch (error) {
        const mapped = fromDriver(error);
        const pause = attempts.pauseAfter(mapped);
        if (pause === null) {
          this.#refused(statement, mapped);
          throw mapped;
        }
        if (mapped instanceof WalletUnreachable) onBroken?.();
        const { sqlstate } = mapped as WalletError;
        const { made: attempt } = attempts;
        this.#log('info', 'retry', { function: statement.function, sqlstate, attempt });
        await sleep(pause * 1000);
      }
    }
  }

  /** One statement, one round trip: it is a transaction by itself. */
  async #fetch(statement: Statement<unknown>): Promise<any[]> {
    const client = await this.#connect();
    let broken: Error | undefined;
    const onError = (error: Error) => {
      broken = error;
    };
    client.on('error', onError);
    const { sql: text, parameters: values } = statement;
    try {
      const name = this.#prepare ? nameOf(text) : undefined;
      return (await client.query({ name, text, values })).rows;
    } catch (error) {
      if (fromDriver(error) instanceof WalletUnreachable) broken ??= error as Error;
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  async #connect(): Promise<PooledClient> {
    const connecting = this.pool.connect();
    if (this.#timeout === undefined) {
      return await connecting.catch((error) => {
        throw unreachable(error, false);
      });
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('no connection in time')), this.#timeout! * 1000);
    });
    try {
      return await Promise.race([connecting, late]);
    } catch (error) {
      connecting.then((client) => client.release()).catch(() => undefined);
      throw unreachable(error, false);
    } finally {
      clearTimeout(timer);
    }
  }

  #refused(statement: Statement<unknown>, error: unknown): void {
    const { sqlstate, message } = error as WalletError;
    this.#log('info', 'refused', { function: statement.function, sqlstate, error: message });
  }

  #log(level: Level, event: string, fields: Record<string, unknown>): void {
    log(this.logger, level, event, { wallet: this.wallet, ...fields });
  }
}

const NAMES = new Map<string, string>();

/** The name under which a connection prepares a statement: the same for the same text. */
function nameOf(text: string): string {
  let name = NAMES.get(text);
  if (name === undefined) {
    name = `pg_wallet_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
    NAMES.set(text, name);
  }
  return name;
}
