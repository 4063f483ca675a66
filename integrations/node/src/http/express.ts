/** Express: a hold before the handler of a request, a settlement after it. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { WalletError } from '../errors.js';
import type { WalletRequest } from '../request.js';
import { answerTo, type Charge, requestOf, statusOf } from './answer.js';

export { type Charge, type Charged, statusOf } from './answer.js';

type Next = (error?: unknown) => void;

const HELD = new WeakMap<object, WalletRequest>();

/** The hold of a request, in its handler: `held(res).settle(usage)`. */
export function held(response: object): WalletRequest {
  const found = HELD.get(response);
  if (found === undefined) throw new TypeError('this request is not charged');
  return found;
}

/**
 * Holds before the handler, settles or releases after it.
 *
 * `charge(req)` says what a request is charged. The handler settles `held(res)`, or notes with
 * `use` what has been used so far: that is settled when the answer is complete. Without either the
 * hold is released. An answer that begins after `settle` has the X-Usage headers. When the client
 * leaves, `held(res).signal` aborts, and the hold stays until the handler settles or ends its
 * answer, or the hold's time is over.
 */
export function walletMiddleware<Q extends IncomingMessage>(charge: Charge<Q>) {
  return async (req: Q, res: ServerResponse, next: Next): Promise<void> => {
    let request: WalletRequest;
    try {
      const charged = await charge(req);
      if (charged === null) return next();
      request = requestOf(charged, leaving(res));
      await request.open();
    } catch (error) {
      if (!refused(error, res)) next(error);
      return;
    }
    HELD.set(res, request);
    finishing(res, request);
    next();
  };
}

/** Answers 402, 403, 409, 429 and 503 to errors of the wallet that a handler raises. */
export function walletErrors() {
  return (error: unknown, _: IncomingMessage, res: ServerResponse, next: Next): void => {
    if (!refused(error, res)) next(error);
  };
}

/** Aborts when the client leaves: nobody waits for the approval of a hold any more. */
function leaving(res: ServerResponse): AbortSignal {
  const controller = new AbortController();
  res.once('close', () => controller.abort(gone()));
  return controller.signal;
}

const gone = () => new DOMException('the client has left', 'AbortError');

/** Ends the request when its answer is complete, or, when the client has left, its handler. */
function finishing(res: ServerResponse, request: WalletRequest): void {
  const finish = (error?: unknown) => {
    // What could not be booked was logged; there is nobody left to tell.
    request.close(error).catch(() => undefined);
  };
  const { writeHead, end } = res;
  let left = false;
  res.writeHead = function (this: ServerResponse, ...given: any[]) {
    for (const [name, value] of Object.entries(request.headers())) this.setHeader(name, value);
    return writeHead.apply(this, given as any);
  } as typeof writeHead;
  res.end = function (this: ServerResponse, ...given: any[]) {
    if (left) finish();
    return end.apply(this, given as any);
  } as typeof end;
  const closed = () => {
    if (res.writableEnded) return finish();
    left = true;
    const error = gone();
    request.abort(error);
    setTimeout(finish, request.options.ttl * 1000, error).unref();
  };
  if (res.closed) closed();
  else res.once('close', closed);
}

function refused(error: unknown, res: ServerResponse): boolean {
  if (!(error instanceof WalletError) || statusOf(error) === 500 || res.headersSent) return false;
  const { status, headers, body } = answerTo(error);
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  res.end(JSON.stringify(body));
  return true;
}
