/** Runs one stream described by JSON on standard input; prints its messages as JSON lines.
 *
 *     { url, config, options, media: [{ kind, base64, seconds }], pauseMilliseconds }
 */
import { text } from "node:stream/consumers";

import { LiveError, annotate } from "../src/index.js";

const scenario = JSON.parse(await text(process.stdin));
const stream = annotate(scenario.url, scenario.config, scenario.options);
const printLine = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function send() {
  for (const { kind, base64, seconds } of scenario.media) {
    const data = Buffer.from(base64, "base64");
    if (kind === "container") await stream.sendContainer(data);
    else if (kind === "frame") await stream.sendFrame(new Blob([data]), seconds);
    else await stream.sendAudio(data, seconds ?? undefined);
    await new Promise((resolve) => setTimeout(resolve, scenario.pauseMilliseconds));
  }
  await stream.end();
}

const sending = send().catch((error) => printLine({ type: "sending_failed", code: error.code }));
try {
  for await (const message of stream) printLine(message);
} catch (error) {
  if (!(error instanceof LiveError)) throw error;
  const { code, retryable, message } = error;
  printLine({ type: "failed", code, retryable, message });
}
await sending;
