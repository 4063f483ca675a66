/** A middleware for the AI SDK of Vercel: `wrapLanguageModel({ model, middleware })`. */

import type { LanguageModelMiddleware } from 'ai';
import type { WalletRequest } from '../request.js';
import type { Wallet } from '../wallet.js';
import { Ending, type Follower, followed } from '../wrap/body.js';
import { Call, counted } from '../wrap/call.js';
import type { Endpoint, Prepared } from '../wrap/endpoint.js';
import { Settings, type WrapOptions } from '../wrap/options.js';
import { inputTokens, type Meters } from '../wrap/read.js';
import { PartsMeter, usageOf } from './meter.js';

type Wrapped<K extends 'wrapGenerate' | 'wrapStream'> = NonNullable<LanguageModelMiddleware[K]>;
type Given = Parameters<Wrapped<'wrapGenerate'>>[0];

/** A call of a language model, as an endpoint: a prompt, tools and a maximum of output. */
class Generation implements Endpoint {
  constructor(
    private readonly settings: Settings,
    private readonly name: string,
  ) {}

  prepare(body: Record<string, any>): Prepared {
    const { heldTokens, usedTokens, mediaTokens } = this.settings;
    const parts = [body.prompt, body.tools];
    const held = 3 + inputTokens(parts, heldTokens, mediaTokens);
    const used = 3 + inputTokens(parts, usedTokens, mediaTokens);
    const output = body.maxOutputTokens ?? this.settings.outputTokens;
    const { provider } = this.settings;
    return {
      model: this.settings.model(this.name),
      body: { ...body },
      estimates: [{ provider, input_tokens: held, output_tokens: output }],
      meter: new PartsMeter(this.settings, used),
      maximum: 'maxOutputTokens',
    };
  }

  used(_: Prepared, result: any): Meters | null {
    return usageOf(result?.usage);
  }
}

/**
 * A middleware that charges the wallet: each call of the model holds its estimate, is made, and is
 * settled with the provider's usage.
 *
 * The result's `providerMetadata.wallet` has `cost`, `balance`, `currency` and `entryId`; so has
 * the part `finish` of a stream. Each step of a generation with tools, and each attempt that the
 * AI SDK makes again, is a call of its own.
 */
export function walletMiddleware(
  wallet: Wallet,
  options: WrapOptions = {},
): LanguageModelMiddleware {
  const hold = async ({ model, params }: Given) => {
    const settings = new Settings(options, model.provider.split('.')[0]!);
    const endpoint = new Generation(settings, model.modelId);
    const signal = params.abortSignal;
    const sent = { method: 'post', path: '', body: { ...params }, signal };
    const call = new Call(settings, endpoint, sent);
    const request = await call.hold(wallet);
    const { body } = call.options(request);
    if (request.options.beyond === 'stop') {
      body.abortSignal = AbortSignal.any(
        [request.signal, params.abortSignal].filter((s) => s != null),
      );
    }
    return { call, request, params: body as Given['params'] };
  };
  return {
    specificationVersion: 'v3',

    wrapGenerate: async (given) => {
      const { call, request, params } = await hold(given);
      try {
        const result = await given.model.doGenerate(params);
        const { usage, exact } = call.used(result);
        await request.settle(usage, counted(exact));
        const providerMetadata = { ...result.providerMetadata, ...metadata(request) };
        return { ...result, providerMetadata };
      } catch (error) {
        await request.close(error);
        throw request.signal.aborted ? request.signal.reason : error;
      }
    },

    wrapStream: async (given) => {
      const { call, request, params } = await hold(given);
      try {
        const result = await given.model.doStream(params);
        const ending = new Ending(request, call.prepared.meter);
        const stream = followed(result.stream, ending, new Parts(ending, call));
        return { ...result, stream };
      } catch (error) {
        await request.close(error);
        throw request.signal.aborted ? request.signal.reason : error;
      }
    },
  };
}

/** The parts of a stream: the last one gets what the call cost. */
class Parts implements Follower<any> {
  constructor(
    private readonly ending: Ending,
    private readonly call: Call,
  ) {}

  async push(part: any): Promise<any[]> {
    this.call.prepared.meter.see(part);
    if (part?.type !== 'finish') return [part];
    await this.ending.finish();
    const providerMetadata = { ...part.providerMetadata, ...metadata(this.ending.request) };
    return [{ ...part, providerMetadata }];
  }

  flush(): any[] {
    return [];
  }
}

/** What a call cost, for those who get the result. */
function metadata(request: WalletRequest): Record<string, Record<string, string | boolean | null>> {
  if (request.charge === null) return {};
  const { cost, balance, currency, entryId, spooled } = request.charge;
  return { wallet: { cost, balance, currency, entryId, spooled } };
}
