/** The errors of the wallet as classes, one for each SQLSTATE. */

/** What the server said of an error. */
export interface ErrorParts {
  detail?: string | null;
  hint?: string | null;
  sqlstate?: string | null;
  resetsAt?: Date | null;
  limitId?: string | null;
  cause?: unknown;
}

/**
 * The base of every error of this package.
 *
 * `detail` has the numbers and `hint` says what to do; both are null where the server said neither.
 * `resetsAt` is the time from which a limit allows the request, where there is one.
 */
export class WalletError extends Error {
  readonly detail: string | null;
  readonly hint: string | null;
  readonly sqlstate: string | null;
  readonly resetsAt: Date | null;
  readonly limitId: string | null;

  constructor(message: string, parts: ErrorParts = {}) {
    super(message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.detail = parts.detail ?? null;
    this.hint = parts.hint ?? null;
    this.sqlstate = parts.sqlstate ?? SQLSTATES.get(new.target) ?? null;
    this.resetsAt = parts.resetsAt ?? null;
    this.limitId = parts.limitId ?? null;
  }

  /** Whole seconds until `resetsAt`, at least one; null without such a time. */
  retryAfter(now: Date = new Date()): number | null {
    if (this.resetsAt === null) return null;
    return Math.max(1, Math.floor((this.resetsAt.getTime() - now.getTime()) / 1000) + 1);
  }
}

/** The balance and the credit limit do not cover the amount. */
export class InsufficientFunds extends WalletError {}
/** A limit does not allow the amount; `limitId` and `resetsAt` are the limit's. */
export class LimitExceeded extends WalletError {}
/** There is no wallet of that name. */
export class WalletNotFound extends WalletError {}
/** The wallet is frozen or closed. */
export class WalletNotActive extends WalletError {}
/** A meter of the model has no price at that time. */
export class PriceNotFound extends WalletError {}
/** The idempotency key was used for another request. */
export class IdempotencyConflict extends WalletError {}
/** The usage object cannot be understood or contradicts itself. */
export class InvalidUsage extends WalletError {}
/** The hold was settled, voided or has expired. */
export class HoldNotOpen extends WalletError {}
/** Role, model, key, address or device is not allowed to do that. */
export class NotPermitted extends WalletError {}
/** Ledger entries are never changed and never deleted. */
export class ImmutableLedger extends WalletError {}
/** An argument looks like card data. */
export class CardDataRefused extends WalletError {}
/** An amount, rate, price or limit is missing, negative, too large or too precise. */
export class InvalidAmount extends WalletError {}
/** The funding or grant is not in the state that the call needs. */
export class FundingNotOpen extends WalletError {}
/** The voucher is unknown, expired or used up. */
export class VoucherNotValid extends WalletError {}
/** No exchange rate had begun at that time. */
export class RateNotFound extends WalletError {}
/** The wallet's place in a tree of wallets does not allow the call. */
export class NotInThisTree extends WalletError {}
/** Another argument is missing or out of range. */
export class InvalidArgument extends WalletError {}
/** The database role was not granted the level for that wallet. */
export class AccessDenied extends WalletError {}
/** There is no such hold, limit or other object. */
export class NotFound extends WalletError {}
/** Another transaction came first: run the transaction again with the same key. */
export class TransactionConflict extends WalletError {}
/** The transaction met a deadlock: run it again with the same key. */
export class DeadlockDetected extends TransactionConflict {}
/** What is known of a hold that waits for approval. */
export interface WaitingParts extends ErrorParts {
  holdId: string;
  amount: string;
  expiresAt: Date;
  idempotencyKey: string;
}

/**
 * The hold waits for approval: the provider must not be called.
 *
 * The hold stays. A request with the same `idempotencyKey` goes on once the hold is approved.
 */
export class ApprovalRequired extends WalletError {
  readonly holdId: string;
  readonly amount: string;
  readonly expiresAt: Date;
  readonly idempotencyKey: string;

  constructor(message: string, parts: WaitingParts) {
    super(message, parts);
    this.holdId = parts.holdId;
    this.amount = parts.amount;
    this.expiresAt = parts.expiresAt;
    this.idempotencyKey = parts.idempotencyKey;
  }
}

/** The request outlived its hold, and `beyond` is `'stop'`. */
export class HoldExpired extends WalletError {}

/**
 * The database did not answer, or cannot write. The call may have been booked.
 *
 * `sent` is false where the call certainly never reached the server.
 */
export class WalletUnreachable extends WalletError {
  readonly sent: boolean;

  constructor(message: string, parts: ErrorParts & { sent?: boolean } = {}) {
    super(message, parts);
    this.sent = parts.sent ?? true;
  }
}

/** The class of each SQLSTATE. */
export const BY_SQLSTATE: ReadonlyMap<string, typeof WalletError> = new Map<
  string,
  typeof WalletError
>([
  ['WL001', InsufficientFunds],
  ['WL002', LimitExceeded],
  ['WL003', WalletNotFound],
  ['WL004', WalletNotActive],
  ['WL005', PriceNotFound],
  ['WL006', IdempotencyConflict],
  ['WL007', InvalidUsage],
  ['WL008', HoldNotOpen],
  ['WL009', NotPermitted],
  ['WL010', ImmutableLedger],
  ['WL011', CardDataRefused],
  ['WL012', InvalidAmount],
  ['WL013', FundingNotOpen],
  ['WL014', VoucherNotValid],
  ['WL015', RateNotFound],
  ['WL016', NotInThisTree],
  ['22023', InvalidArgument],
  ['42501', AccessDenied],
  ['42704', NotFound],
  ['40001', TransactionConflict],
  ['40P01', DeadlockDetected],
]);
const SQLSTATES = new Map([...BY_SQLSTATE].map(([sqlstate, one]) => [one, sqlstate] as const));

// A connection that cannot be made, broke or is shut down, and a server that is read-only for now.
const UNREACHABLE = /^(08...|57P0[1-5]|53300|25006)$/;

// What drivers say of a connection that broke, by code and by message.
const BROKEN_CODE =
  /^(ECONN\w+|EPIPE|ENOENT|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOTFOUND)$/;
const BROKEN_MESSAGE =
  /connection (terminated|ended|error)|not queryable|client was closed|query read timeout|socket hang up/i;

/** What the server said, wherever a library between has put it. */
interface ServerError {
  sqlstate: string;
  message: string;
  detail: string | null;
  hint: string | null;
  constraint: string | null;
}

/** The error of this package for one of the driver; others stay as they are. */
export function fromDriver(error: unknown): unknown {
  if (error instanceof WalletError) return error;
  const said = serverError(error);
  if (said === null) return isBroken(error) ? unreachable(error, true) : error;
  const { sqlstate, message, detail, hint } = said;
  if (UNREACHABLE.test(sqlstate)) return new WalletUnreachable(message, { sqlstate, cause: error });
  const known = BY_SQLSTATE.get(sqlstate);
  if (known === undefined && !sqlstate.startsWith('WL')) return error;
  const limited = sqlstate === 'WL002';
  return new (known ?? WalletError)(message, {
    detail,
    hint,
    sqlstate,
    resetsAt: limited ? resetsAt(detail) : null,
    limitId: limited ? said.constraint : null,
    cause: error,
  });
}

/** The error of a connection that could not be had, or that broke. */
export function unreachable(error: unknown, sent: boolean): WalletUnreachable {
  const message = error instanceof Error && error.message ? error.message : String(error);
  const sqlstate = serverError(error)?.sqlstate ?? null;
  return new WalletUnreachable(message || 'no connection', { sent, sqlstate, cause: error });
}

/** Looks through the causes of an error: query builders wrap what the driver raised. */
function serverError(error: unknown): ServerError | null {
  for (let depth = 0, one: any = error; depth < 8 && one && typeof one === 'object'; depth++) {
    const code = one.originalCode ?? one.code;
    // An error of the driver has a severity, which tells it from Prisma's own codes.
    if (
      typeof code === 'string' &&
      /^[0-9A-Z]{5}$/.test(code) &&
      (one.severity || one.originalCode)
    ) {
      return {
        sqlstate: code,
        message: one.originalMessage ?? one.message,
        detail: one.detail ?? null,
        hint: one.hint ?? null,
        constraint: typeof one.constraint === 'string' ? one.constraint : null,
      };
    }
    one = one.cause ?? one.meta?.driverAdapterError;
  }
  return null;
}

function isBroken(error: unknown): boolean {
  for (let depth = 0, one: any = error; depth < 8 && one && typeof one === 'object'; depth++) {
    if (typeof one.code === 'string' && BROKEN_CODE.test(one.code)) return true;
    if (typeof one.message === 'string' && BROKEN_MESSAGE.test(one.message)) return true;
    one = one.cause;
  }
  return false;
}

// The end of DETAIL of WL002: a time in the limit's own time zone.
const RESETS_AT =
  /(?:It resets at|Enough of it is free at) (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (\S+)\.$/;

/** The time at which a limit resets, from the DETAIL of WL002. */
export function resetsAt(detail: string | null): Date | null {
  const found = RESETS_AT.exec(detail ?? '');
  if (found === null) return null;
  const local = Date.parse(`${found[1]}T${found[2]}Z`);
  try {
    // Of an hour that comes twice the later one: nobody is asked to come back too early.
    const day = 86_400_000;
    const times = [local - day, local + day].map((near) => local - offset(near, found[3]!));
    return new Date(Math.max(...times.filter((time) => local - offset(time, found[3]!) === time)));
  } catch {
    return null;
  }
}

/** Milliseconds by which a zone is ahead of UTC at a time. */
function offset(time: number, timeZone: string): number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  const name = format.formatToParts(time).find((part) => part.type === 'timeZoneName')?.value ?? '';
  const found = /^GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(name);
  if (found === null) throw new RangeError(`no offset in ${name}`);
  const [, sign, hours = '0', minutes = '0', seconds = '0'] = found;
  const size = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  return sign === '-' ? -size : size;
}
