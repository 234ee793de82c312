// Anthropic's own SDK for TypeScript.

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import * as z from "zod";
import { ASK, HELLO, MODEL, READ, getWeather } from "./cases.mjs";

const client = (url) => new Anthropic({ baseURL: url, apiKey: "none" });
const ask = (content) => ({
  model: MODEL,
  max_tokens: 999,
  messages: [{ role: "user", content }],
});

export async function plain(url) {
  return (await client(url).messages.create(ask(HELLO))).content[0].text;
}

export async function streamed(url) {
  const pieces = [];
  const stream = client(url).messages.stream(ask(HELLO)).on("text", (text) => pieces.push(text));
  await stream.finalMessage();
  return pieces;
}

// The tool runner calls the tool and asks again, streaming both times.
export async function tools(url) {
  const calls = [];
  const tool = betaZodTool({
    name: "get_weather",
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    run: (input) => {
      calls.push(["get_weather", input]);
      return getWeather(input);
    },
  });
  const runner = client(url).beta.messages.toolRunner({ ...ask(ASK), tools: [tool], stream: true });
  let last;
  for await (const stream of runner) last = await stream.finalMessage();
  return [...calls.flat(), last.content.find((block) => block.type === "text").text];
}

export async function structured(url) {
  const format = zodOutputFormat(z.object({ city: z.string(), degrees: z.int() }));
  const message = await client(url).messages.parse({ ...ask(READ), output_config: { format } });
  return message.parsed_output;
}
