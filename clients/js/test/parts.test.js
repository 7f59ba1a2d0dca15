import assert from "node:assert/strict";
import test from "node:test";

import { Backoff } from "../src/backoff.js";
import { errorOfClose } from "../src/errors.js";
import { Inbox } from "../src/inbox.js";
import { Memory } from "../src/memory.js";
import {
  CONTAINER, FRAME, SOUND, bytesOf, readResponse, samplesAs, writeConfig, writeMedia,
} from "../src/wire.js";

const bytes = (...values) => new Uint8Array(values);
const taken = (memory) => {
  const all = [];
  for (let piece = memory.take(); piece; piece = memory.take()) all.push(piece);
  return all;
};

test("a piece of media is a byte, a time where it has one, and the data", () => {
  assert.deepEqual(writeMedia({ kind: CONTAINER, data: bytes(7, 8) }), bytes(1, 7, 8));
  const frame = writeMedia({ kind: FRAME, data: bytes(9), seconds: 0.5 });
  assert.deepEqual(frame, bytes(2, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 9));
  const sound = writeMedia({ kind: SOUND, data: bytes(1, 2) });
  assert.ok(Number.isNaN(new DataView(sound.buffer).getFloat64(1, true)));
});

test("64-bit numbers become numbers, and names stay as they are", () => {
  const told = '{"frame_result": {"index": "12", "is_final": true, "resume_token": "34",'
    + ' "tracks": [{"track": 1}]}}';
  assert.deepEqual(readResponse(told), {
    type: "frame_result", index: 12, is_final: true, resume_token: "34", tracks: [{ track: 1 }],
  });
});

test("a resume token is added to the config, which stays as it was", () => {
  const config = { container: {} };
  assert.equal(writeConfig(config, ""), '{"config":{"container":{}}}');
  assert.equal(writeConfig(config, "t"), '{"config":{"container":{},"resume_token":"t"}}');
  assert.deepEqual(config, { container: {} });
});

test("bytes are taken from whatever holds them, and copied", async () => {
  const floats = new Float32Array([0, 1]);
  const copy = await bytesOf(floats.subarray(1));
  floats[1] = 0;
  assert.deepEqual(copy, bytes(0, 0, 0x80, 0x3f));
  assert.deepEqual(await bytesOf(new Blob([bytes(1, 2)])), bytes(1, 2));
  assert.deepEqual(await bytesOf(bytes(3).buffer), bytes(3));
  await assert.rejects(bytesOf("text"), TypeError);
});

test("samples are rounded where the stream wants whole numbers", () => {
  const samples = new Float32Array([-2, -1, 0, 0.5, 1]);
  assert.deepEqual(
    samplesAs("SAMPLE_ENCODING_S16LE", samples),
    new Int16Array([-32767, -32767, 0, 16384, 32767]),
  );
  assert.equal(samplesAs("SAMPLE_ENCODING_F32LE", samples), samples);
});

test("a container is cut where the gateway says", () => {
  const memory = new Memory();
  memory.add(CONTAINER, bytes(0, 1, 2));
  memory.add(CONTAINER, bytes(3, 4));
  assert.equal(taken(memory).length, 2);
  assert.ok(memory.rewind({ container_bytes: 2 }));
  assert.deepEqual(taken(memory).map((piece) => [...piece.data]), [[2], [3, 4]]);
  assert.ok(memory.rewind({}), "another gateway may know nothing");
  assert.deepEqual(taken(memory).map((piece) => [...piece.data]), [[0, 1, 2], [3, 4]]);
  memory.release({ container_bytes: 3 });
  assert.equal(memory.bytes, 2);
  assert.ok(!memory.rewind({ container_bytes: 2 }), "this byte has been released");
});

test("frames and sound are sent again in their order, each from its own place", () => {
  const memory = new Memory({ sampleBytes: 2, sampleRate: 10 });
  memory.add(FRAME, bytes(1), 0);
  memory.add(SOUND, bytes(0, 0, 1, 1, 2, 2, 3, 3), 0);
  memory.add(FRAME, bytes(2), 0.1);
  memory.add(SOUND, bytes(4, 4));
  memory.add(FRAME, bytes(3), 0.2);
  taken(memory);
  assert.ok(memory.rewind({ frames: 1, audio_samples: 3 }));
  const again = taken(memory).map(({ kind, data, seconds }) => [kind, [...data], seconds]);
  assert.deepEqual(again.map(([kind, data]) => [kind, data]), [
    [SOUND, [3, 3]], [FRAME, [2]], [SOUND, [4, 4]], [FRAME, [3]],
  ]);
  assert.ok(Math.abs(again[0][2] - 0.3) < 1e-12, "what is left begins later");
  assert.equal(again[2][2], undefined);
});

test("what is released is forgotten, but nothing that has not been sent", () => {
  const memory = new Memory();
  for (let at = 0; at < 4; at += 1) memory.add(FRAME, bytes(at), at);
  memory.take();
  memory.take();
  memory.release({ frames: 1 });
  assert.equal(memory.bytes, 3);
  memory.release({ frames: 4 });
  assert.deepEqual(taken(memory).map(({ seconds }) => seconds), [2, 3]);
  assert.ok(!memory.rewind({ frames: 0 }));
  assert.ok(memory.rewind({ frames: 2 }));
  assert.deepEqual(taken(memory).map(({ seconds }) => seconds), [2, 3]);
});

test("memory is bounded, at the price of a resume that may come to nothing", () => {
  const memory = new Memory({ mostBytes: 10 });
  for (let at = 0; at < 100; at += 1) {
    memory.add(FRAME, bytes(1, 2, 3, 4), at);
    memory.take();
  }
  assert.ok(memory.bytes <= 10);
  assert.ok(!memory.rewind({ frames: 97 }));
  assert.ok(memory.rewind({ frames: 98 }));
});

test("results wait for whoever reads them, finals without fail", async () => {
  const inbox = new Inbox(3);
  const results = [];
  for (let index = 0; index < 50; index += 1) {
    inbox.put({ type: "frame_result", index, is_final: false });
    if (index % 10 === 0) inbox.put({ type: "frame_result", index, is_final: true });
  }
  inbox.close(new Error("over"));
  for (let next = await inbox.next(); ; next = await inbox.next()) {
    results.push(next.value);
    if (results.length === 5) break;
  }
  assert.deepEqual(results.map(({ index }) => index), [0, 10, 20, 30, 40]);
  await assert.rejects(inbox.next(), /over/);
  assert.deepEqual(await inbox.next(), { value: undefined, done: true });
});

test("who waits for a result gets it at once", async () => {
  const inbox = new Inbox(3);
  const waiting = [inbox.next(), inbox.next()];
  inbox.put({ type: "summary" });
  inbox.close();
  assert.deepEqual(await Promise.all(waiting), [
    { value: { type: "summary" }, done: false }, { value: undefined, done: true },
  ]);
});

test("tries come further and further apart, up to a bound", () => {
  const backoff = new Backoff();
  for (const most of [0.25, 0.5, 1, 2, 4, 8, 10, 10]) {
    const seconds = backoff.seconds();
    assert.ok(seconds >= most / 2 && seconds <= most, `${seconds} of ${most}`);
  }
  assert.equal(backoff.seconds(30), 30);
  backoff.reset();
  assert.ok(backoff.seconds() <= 0.25);
});

test("it is known after which closes it is worth coming again", () => {
  for (const code of [1001, 1006, 1012, 1013]) assert.ok(errorOfClose(code, "").retryable);
  for (const code of [1002, 1009, 4401]) assert.ok(!errorOfClose(code, "").retryable);
});
