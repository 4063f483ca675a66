/**
 * The inside of a client whose calls are charged.
 *
 * The official SDKs are generated alike. Every call of a resource goes through
 * `client.makeRequest`, which answers with the response, and from which all that the caller can get
 * is made: parsed objects, streams, helpers and raw responses. It is replaced here. Attempts that
 * the SDK makes again go through it too, and name the attempt before.
 */

import type { WalletRequest } from '../request.js';
import type { Wallet } from '../wallet.js';
import { Ending, Events, ended, followed } from './body.js';
import { Call, counted, Receipt, type Sent } from './call.js';
import type { Endpoint } from './endpoint.js';
import type { Settings } from './options.js';

/** What `makeRequest` answers with. */
interface Props {
  response: Response;
  options: Sent;
  controller: AbortController;
  startTime: number;
}

type Parse = (client: unknown, props: Props) => Promise<unknown>;

/** What a client of the SDKs has. Newer ones of openai read bodies within the time limit. */
export interface Client {
  timeout: number;
  makeRequest(
    options: Sent | Promise<Sent>,
    retries: number | null,
    retryOf: string | undefined,
    ...more: unknown[]
  ): Promise<Props>;
  request(...given: unknown[]): { parseResponse?: Parse };
  parseResponseWithTimeout?: Parse;
}

/** What is charged, and how. */
export interface Charging {
  wallet: Wallet;
  settings: Settings;
  endpoints: Record<string, Endpoint>;
}

/** What belongs to a response; `ending` to a stream. */
interface Charged {
  receipt: Receipt;
  ending: Ending | null;
}

const CHARGED = new WeakMap<Response, Charged>();

/** Charges the calls of a client. */
export function hook(client: Client, charging: Charging): void {
  const { makeRequest, request, parseResponseWithTimeout } = client;
  if (typeof makeRequest !== 'function' || typeof request !== 'function') {
    throw new TypeError('this version of the SDK is not supported');
  }
  client.makeRequest = async (given, retries, retryOf, ...more) => {
    const send = async (options: Sent) =>
      await makeRequest.call(client, options, retries, retryOf, ...more);
    const options = await given;
    const endpoint = charging.endpoints[options.path.split('?')[0]!];
    if (retryOf !== undefined || endpoint === undefined || options.method !== 'post') {
      return await send(options);
    }
    const call = new Call(charging.settings, endpoint, options);
    return await charged(call, await call.hold(charging.wallet), send, client);
  };
  // Whoever makes an object of a response gives it the response's receipt.
  const receipted =
    (parse: Parse): Parse =>
    async (one, props) => {
      const parsed = await parse(one, props);
      const found = CHARGED.get(props.response);
      if (found !== undefined) attach(parsed, found);
      return parsed;
    };
  if (parseResponseWithTimeout !== undefined) {
    client.parseResponseWithTimeout = receipted(parseResponseWithTimeout.bind(client));
    return;
  }
  client.request = (...arguments_) => {
    const promise = request.apply(client, arguments_);
    if (promise.parseResponse)
      promise.parseResponse = receipted(promise.parseResponse.bind(promise));
    return promise;
  };
}

/** Makes the call: its response is settled where it is whole, and followed where it is a stream. */
async function charged(
  call: Call,
  request: WalletRequest,
  send: (options: Sent) => Promise<Props>,
  client: Client,
): Promise<Props> {
  try {
    const props = await send(call.options(request));
    const meter = call.meter();
    const ending = isStream(props) ? new Ending(request, meter) : null;
    const response = ending
      ? again(props.response, followed(props.response.body!, ending, new Events(meter)))
      : await settled(props, call, request, client);
    const found = { receipt: new Receipt(request), ending };
    CHARGED.set(response, found);
    attach(response, { ...found, ending: null });
    return { ...props, response };
  } catch (error) {
    await request.close(error);
    throw request.signal.aborted ? request.signal.reason : error;
  }
}

function isStream({ response, options }: Props): boolean {
  const type = response.headers.get('content-type') ?? '';
  return response.body !== null && (options.stream === true || type.includes('text/event-stream'));
}

async function settled(
  props: Props,
  call: Call,
  request: WalletRequest,
  client: Client,
): Promise<Response> {
  const { response, options } = props;
  if (options.__binaryResponse) {
    await settle(call, request, undefined);
    return response;
  }
  const text = await inTime(response.text(), props, client);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // A text, such as a transcription's.
  }
  await settle(call, request, parsed);
  return again(response, text === '' ? null : text);
}

/** A body, within the time limit of the call where the SDK has one for bodies. */
async function inTime<T>(body: Promise<T>, props: Props, client: Client): Promise<T> {
  if (client.parseResponseWithTimeout === undefined) return await body;
  const limit = Number(props.options.timeout ?? client.timeout);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const stop = () => {
      props.controller.abort();
      const { APIConnectionTimeoutError } = client.constructor as any;
      reject(new APIConnectionTimeoutError());
    };
    timer = setTimeout(stop, Math.max(0, props.startTime + limit - Date.now()));
  });
  body.catch(() => undefined);
  try {
    return await Promise.race([body, late]);
  } finally {
    clearTimeout(timer);
  }
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
function attach(response: any, { receipt, ending }: Charged): void {
  if (response === null || typeof response !== 'object') return;
  if (Array.isArray(response) || !Object.isExtensible(response)) return;
  Object.defineProperty(response, 'wallet', {
    value: receipt,
    enumerable: !(response instanceof Response),
    configurable: true,
    writable: true,
  });
  if (ending !== null && typeof response.iterator === 'function') {
    response.iterator = ended(response.iterator.bind(response), ending);
  }
}
