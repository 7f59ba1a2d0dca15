/** One stream, told as JSON on standard input; what it says is told as JSON lines.
 *
 *     { url, config, options, media: [{ kind, base64, seconds }], pauseMilliseconds }
 */
import { text } from "node:stream/consumers";

import { LiveError, annotate } from "../src/index.js";

const wanted = JSON.parse(await text(process.stdin));
const stream = annotate(wanted.url, wanted.config, wanted.options);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function send() {
  for (const { kind, base64, seconds } of wanted.media) {
    const data = Buffer.from(base64, "base64");
    if (kind === "container") await stream.sendContainer(data);
    else if (kind === "frame") await stream.sendFrame(new Blob([data]), seconds);
    else await stream.sendAudio(data, seconds ?? undefined);
    await new Promise((resolve) => setTimeout(resolve, wanted.pauseMilliseconds));
  }
  await stream.end();
}

const sending = send().catch((error) => tell({ type: "sending_failed", code: error.code }));
try {
  for await (const message of stream) tell(message);
} catch (error) {
  if (!(error instanceof LiveError)) throw error;
  const { code, retryable, message } = error;
  tell({ type: "failed", code, retryable, message });
}
await sending;
