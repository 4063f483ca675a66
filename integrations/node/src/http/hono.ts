/** Hono: a hold before the handler of a request, a settlement after it. */

import type { Context, MiddlewareHandler } from 'hono';
import { WalletError } from '../errors.js';
import type { WalletRequest } from '../request.js';
import { Ending, followed } from '../wrap/body.js';
import { answerTo, type Charge, requestOf, statusOf } from './answer.js';

export { type Charge, type Charged, statusOf } from './answer.js';

/** The variables of a context whose request is charged: `new Hono<WalletEnv>()`. */
export interface WalletEnv {
  Variables: { wallet: WalletRequest };
}

/**
 * Holds before the handler, settles or releases after it.
 *
 * `charge(c)` says what a request is charged. The handler finds the hold in `c.var.wallet`. It
 * settles, or notes with `use` what has been used so far: that is settled when the answer is
 * complete, which of a stream is after its last byte, or when the client has left. Without either
 * the hold is released. An answer of a handler that has settled has the X-Usage headers.
 */
export function walletMiddleware(charge: Charge<Context>): MiddlewareHandler<WalletEnv> {
  return async (c, next) => {
    const charged = await charge(c);
    if (charged === null) return await next();
    const { signal } = c.req.raw;
    const request = requestOf(charged, signal);
    try {
      await request.open();
    } catch (error) {
      return walletErrors(error, c);
    }
    c.set('wallet', request);
    const left = () => request.abort(signal.reason);
    signal.addEventListener('abort', left, { once: true });
    if (signal.aborted) left();
    try {
      await next();
    } catch (error) {
      await request.close(error);
      throw error;
    }
    await answered(c, request);
  };
}

/** Ends the request with its answer. */
async function answered(c: Context, request: WalletRequest): Promise<void> {
  const { body, status, headers } = c.res;
  if (c.error !== undefined || (body === null && !request.closed)) await request.close(c.error);
  if (!request.closed && body !== null) {
    const ending = new Ending(request, { see: () => true, usage: () => null });
    const stream = followed(body, ending, { push: (chunk) => [chunk], flush: () => [] });
    c.res = new Response(stream, { status, headers });
  }
  for (const [name, value] of Object.entries(request.headers())) c.header(name, value);
}

/** Answers 402, 403, 409, 429 and 503 to errors of the wallet: `app.onError(walletErrors)`. */
export function walletErrors(error: unknown, _: Context): Response {
  if (!(error instanceof WalletError) || statusOf(error) === 500) throw error;
  const { status, headers, body } = answerTo(error);
  return Response.json(body, { status, headers });
}
