import assert from "node:assert/strict";
import test from "node:test";

import { Backoff } from "../src/backoff.js";
import { errorFromClose } from "../src/errors.js";
import { MessageQueue } from "../src/message-queue.js";
import { ReplayBuffer } from "../src/replay-buffer.js";
import {
  AUDIO, CONTAINER, FRAME, convertSamples, encodeConfig, encodeMedia, parseResponse, toBytes,
} from "../src/wire.js";

const bytes = (...values) => new Uint8Array(values);
const takeAll = (buffer) => {
  const all = [];
  for (let chunk = buffer.nextUnsent(); chunk; chunk = buffer.nextUnsent()) all.push(chunk);
  return all;
};

test("a media message is a kind byte, a time for frames and audio, and the data", () => {
  assert.deepEqual(encodeMedia({ kind: CONTAINER, data: bytes(7, 8) }), bytes(1, 7, 8));
  const frame = encodeMedia({ kind: FRAME, data: bytes(9), seconds: 0.5 });
  assert.deepEqual(frame, bytes(2, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 9));
  const audio = encodeMedia({ kind: AUDIO, data: bytes(1, 2) });
  assert.ok(Number.isNaN(new DataView(audio.buffer).getFloat64(1, true)));
});

test("64-bit integers become numbers, and field names are unchanged", () => {
  const message = '{"frame_result": {"index": "12", "is_final": true, "resume_token": "34",'
    + ' "tracks": [{"track": 1}]}}';
  assert.deepEqual(parseResponse(message), {
    type: "frame_result", index: 12, is_final: true, resume_token: "34", tracks: [{ track: 1 }],
  });
});

test("a resume token is added to a copy of the config", () => {
  const config = { container: {} };
  assert.equal(encodeConfig(config, ""), '{"config":{"container":{}}}');
  assert.equal(encodeConfig(config, "t"), '{"config":{"container":{},"resume_token":"t"}}');
  assert.deepEqual(config, { container: {} });
});

test("bytes of blobs, buffers and typed arrays are copied", async () => {
  const floats = new Float32Array([0, 1]);
  const copy = await toBytes(floats.subarray(1));
  floats[1] = 0;
  assert.deepEqual(copy, bytes(0, 0, 0x80, 0x3f));
  assert.deepEqual(await toBytes(new Blob([bytes(1, 2)])), bytes(1, 2));
  assert.deepEqual(await toBytes(bytes(3).buffer), bytes(3));
  await assert.rejects(toBytes("text"), TypeError);
});

test("float samples are rounded for a stream of integer samples", () => {
  const samples = new Float32Array([-2, -1, 0, 0.5, 1]);
  assert.deepEqual(
    convertSamples("SAMPLE_ENCODING_S16LE", samples),
    new Int16Array([-32767, -32767, 0, 16384, 32767]),
  );
  assert.equal(convertSamples("SAMPLE_ENCODING_F32LE", samples), samples);
});

test("a container is sent again from the gateway's position", () => {
  const buffer = new ReplayBuffer();
  buffer.add(CONTAINER, bytes(0, 1, 2));
  buffer.add(CONTAINER, bytes(3, 4));
  assert.equal(takeAll(buffer).length, 2);
  assert.ok(buffer.rewind({ container_bytes: 2 }));
  assert.deepEqual(takeAll(buffer).map((chunk) => [...chunk.data]), [[2], [3, 4]]);
  assert.ok(buffer.rewind({}), "another gateway may start from the beginning");
  assert.deepEqual(takeAll(buffer).map((chunk) => [...chunk.data]), [[0, 1, 2], [3, 4]]);
  buffer.release({ container_bytes: 3 });
  assert.equal(buffer.bytes, 2);
  assert.ok(!buffer.rewind({ container_bytes: 2 }), "this byte has been released");
});

test("frames and audio are sent again in order, each from its own position", () => {
  const buffer = new ReplayBuffer({ sampleBytes: 2, sampleRate: 10 });
  buffer.add(FRAME, bytes(1), 0);
  buffer.add(AUDIO, bytes(0, 0, 1, 1, 2, 2, 3, 3), 0);
  buffer.add(FRAME, bytes(2), 0.1);
  buffer.add(AUDIO, bytes(4, 4));
  buffer.add(FRAME, bytes(3), 0.2);
  takeAll(buffer);
  assert.ok(buffer.rewind({ frames: 1, audio_samples: 3 }));
  const again = takeAll(buffer).map(({ kind, data, seconds }) => [kind, [...data], seconds]);
  assert.deepEqual(again.map(([kind, data]) => [kind, data]), [
    [AUDIO, [3, 3]], [FRAME, [2]], [AUDIO, [4, 4]], [FRAME, [3]],
  ]);
  assert.ok(Math.abs(again[0][2] - 0.3) < 1e-12, "the rest of a split chunk starts later");
  assert.equal(again[2][2], undefined);
});

test("released chunks are dropped, unsent ones are not", () => {
  const buffer = new ReplayBuffer();
  for (let index = 0; index < 4; index += 1) buffer.add(FRAME, bytes(index), index);
  buffer.nextUnsent();
  buffer.nextUnsent();
  buffer.release({ frames: 1 });
  assert.equal(buffer.bytes, 3);
  buffer.release({ frames: 4 });
  assert.deepEqual(takeAll(buffer).map(({ seconds }) => seconds), [2, 3]);
  assert.ok(!buffer.rewind({ frames: 0 }));
  assert.ok(buffer.rewind({ frames: 2 }));
  assert.deepEqual(takeAll(buffer).map(({ seconds }) => seconds), [2, 3]);
});

test("the replay buffer is bounded, and a resume before its start is refused", () => {
  const buffer = new ReplayBuffer({ maxBytes: 10 });
  for (let index = 0; index < 100; index += 1) {
    buffer.add(FRAME, bytes(1, 2, 3, 4), index);
    buffer.nextUnsent();
  }
  assert.ok(buffer.bytes <= 10);
  assert.ok(!buffer.rewind({ frames: 97 }));
  assert.ok(buffer.rewind({ frames: 98 }));
});

test("queued provisional results are dropped beyond the limit, finals never", async () => {
  const queue = new MessageQueue(3);
  const results = [];
  for (let index = 0; index < 50; index += 1) {
    queue.push({ type: "frame_result", index, is_final: false });
    if (index % 10 === 0) queue.push({ type: "frame_result", index, is_final: true });
  }
  queue.close(new Error("over"));
  for (let next = await queue.next(); ; next = await queue.next()) {
    results.push(next.value);
    if (results.length === 5) break;
  }
  assert.deepEqual(results.map(({ index }) => index), [0, 10, 20, 30, 40]);
  await assert.rejects(queue.next(), /over/);
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});

test("a waiting reader gets a message at once", async () => {
  const queue = new MessageQueue(3);
  const waiting = [queue.next(), queue.next()];
  queue.push({ type: "summary" });
  queue.close();
  assert.deepEqual(await Promise.all(waiting), [
    { value: { type: "summary" }, done: false }, { value: undefined, done: true },
  ]);
});

test("delays double up to a maximum", () => {
  const backoff = new Backoff();
  for (const maxSeconds of [0.25, 0.5, 1, 2, 4, 8, 10, 10]) {
    const seconds = backoff.nextDelaySeconds();
    assert.ok(seconds >= maxSeconds / 2 && seconds <= maxSeconds, `${seconds} of ${maxSeconds}`);
  }
  assert.equal(backoff.nextDelaySeconds(30), 30);
  backoff.reset();
  assert.ok(backoff.nextDelaySeconds() <= 0.25);
});

test("only some close codes are retryable", () => {
  for (const code of [1001, 1006, 1012, 1013]) assert.ok(errorFromClose(code, "").retryable);
  for (const code of [1002, 1009, 4401]) assert.ok(!errorFromClose(code, "").retryable);
});
