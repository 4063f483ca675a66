/**
 * `client.request` of a client whose calls are charged.
 *
 * The official SDKs are generated alike. Every call of a resource is a call of `client.request`,
 * which returns an APIPromise: `responsePromise` has the response, and `parseResponse` makes of it
 * what the caller gets. Both are replaced here, so that all ways to read an answer are charged.
 */

import type { WalletRequest } from '../request.js';
import type { Wallet } from '../wallet.js';
import { metered } from './body.js';
import { Call, counted, Receipt, type Sent } from './call.js';
import type { Endpoint } from './endpoint.js';
import type { Settings } from './options.js';

/** The promise of the SDKs. */
interface APIPromise {
  responsePromise: Promise<{ response: Response; options: Sent; [name: string]: unknown }>;
  parseResponse: (client: unknown, props: { response: Response }) => Promise<unknown>;
}

type Send = (options: Promise<Sent>, retries?: number | null) => APIPromise;

interface Begun {
  options: Sent;
  call?: Call;
  request?: WalletRequest;
}

const RECEIPTS = new WeakMap<Response, Receipt>();

/** What is charged, and how. */
export interface Charging {
  wallet: Wallet;
  settings: Settings;
  endpoints: Record<string, Endpoint>;
}

/** `client.request` with a hold before and a settlement after. */
export function hook(send: Send, charging: Charging) {
  return (options: Sent | Promise<Sent>, retries?: number | null): APIPromise => {
    const begun = begin(options, charging);
    const promise = send(
      begun.then((one) => one.options),
      retries,
    );
    const { responsePromise, parseResponse } = promise;
    if (!(responsePromise instanceof Promise) || typeof parseResponse !== 'function') {
      throw new TypeError('this version of the SDK is not supported');
    }
    promise.responsePromise = received(begun, responsePromise);
    promise.parseResponse = async (client, props) => {
      const parsed = await parseResponse.call(promise, client, props);
      const receipt = RECEIPTS.get(props.response);
      if (receipt !== undefined) attach(parsed, receipt);
      return parsed;
    };
    return promise;
  };
}

async function begin(given: Sent | Promise<Sent>, charging: Charging): Promise<Begun> {
  const options = await given;
  const endpoint = charging.endpoints[options.path.split('?')[0]!];
  if (endpoint === undefined || options.method !== 'post') return { options };
  const call = new Call(charging.settings, endpoint, options);
  const request = await call.hold(charging.wallet);
  return { options: call.options(request), call, request };
}

/** The response, settled where it is whole, and followed where it is a stream. */
async function received<P extends { response: Response; options: Sent }>(
  begun: Promise<Begun>,
  sent: Promise<P>,
): Promise<P> {
  sent.catch(() => undefined);
  const { call, request } = await begun;
  if (call === undefined || request === undefined) return await sent;
  try {
    const props = await sent;
    const response = await settled(props.response, props.options, call, request);
    const receipt = new Receipt(request);
    RECEIPTS.set(response, receipt);
    attach(response, receipt);
    return { ...props, response };
  } catch (error) {
    await request.close(error);
    throw request.signal.aborted ? request.signal.reason : error;
  }
}

async function settled(
  response: Response,
  options: Sent,
  call: Call,
  request: WalletRequest,
): Promise<Response> {
  const type = response.headers.get('content-type') ?? '';
  if (response.body !== null && (options.stream || type.includes('text/event-stream'))) {
    return again(response, metered(response.body, request, call.prepared.meter));
  }
  if (options.__binaryResponse) {
    await settle(call, request, undefined);
    return response;
  }
  const text = await response.text();
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // A text, such as a transcription's.
  }
  await settle(call, request, parsed);
  return again(response, text === '' ? null : text);
}

async function settle(call: Call, request: WalletRequest, response: unknown): Promise<void> {
  const { usage, exact } = call.used(response);
  await request.settle(usage, counted(exact));
}

/** The same response with another body. */
function again(response: Response, body: ReadableStream<Uint8Array> | string | null): Response {
  const { status, statusText, headers, url } = response;
  const copy = new Response(body, { status, statusText, headers });
  Object.defineProperty(copy, 'url', { value: url });
  return copy;
}

/** Sets `response.wallet`. Copies of the response have it; its JSON has not. */
function attach(response: unknown, receipt: Receipt): void {
  if (response === null || typeof response !== 'object' || Array.isArray(response)) return;
  if (!Object.isExtensible(response)) return;
  Object.defineProperty(response, 'wallet', {
    value: receipt,
    enumerable: !(response instanceof Response),
    configurable: true,
    writable: true,
  });
}
