/** Spans of the application's tracer. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { context, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { InsufficientFunds } from '../src/index.js';
import { fixture } from './support.js';

const t = fixture('telemetry');
const exporter = new InMemorySpanExporter();

before(() => {
  const spanProcessors = [new SimpleSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});

test("a request is two spans within the caller's", async () => {
  await trace.getTracer('app').startActiveSpan('answer', async (outer) => {
    await t.wallet.request('1', (r) => r.settle('0.5'));
    await assert.rejects(t.wallet.bind({ key: undefined }).charge('1000'), InsufficientFunds);
    outer.end();
  });
  const [hold, settle, charge, answer] = exporter.getFinishedSpans();
  const spans = [hold!, settle!, charge!];
  assert.deepEqual(
    spans.map((span) => span.name),
    ['wallet.hold', 'wallet.settle', 'wallet.charge'],
  );
  for (const span of spans) {
    assert.equal(span.parentSpanContext?.spanId, answer!.spanContext().spanId);
    assert.equal(span.attributes['db.system.name'], 'postgresql');
    assert.equal(span.attributes['wallet.name'], t.name);
  }
  assert.equal(settle!.attributes['wallet.cost'], '0.50');
  assert.equal(charge!.status.code, SpanStatusCode.ERROR);
  assert.equal(answer!.status.code, SpanStatusCode.UNSET);
});
