// The AI SDK of Vercel, which speaks HTTP itself.

import { createAnthropic } from "@ai-sdk/anthropic";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import * as z from "zod";
import { ASK, HELLO, MODEL, READ, getWeather } from "./cases.mjs";

const model = (url) => createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" })(MODEL);

export async function plain(url) {
  return (await generateText({ model: model(url), prompt: HELLO })).text;
}

export async function streamed(url) {
  return Array.fromAsync(streamText({ model: model(url), prompt: HELLO }).textStream);
}

export async function tools(url) {
  const get_weather = tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: getWeather,
  });
  const asked = { model: model(url), prompt: ASK, tools: { get_weather } };
  const done = streamText({ ...asked, stopWhen: isStepCount(3) });
  const [call] = (await done.steps).flatMap((step) => step.toolCalls);
  return [call.toolName, call.input, await done.text];
}

export async function structured(url) {
  const output = Output.object({ schema: z.object({ city: z.string(), degrees: z.int() }) });
  return (await generateText({ model: model(url), prompt: READ, output })).output;
}
