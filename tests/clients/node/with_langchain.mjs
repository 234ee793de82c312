// LangChain for JavaScript.

import { ChatAnthropic } from "@langchain/anthropic";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import * as z from "zod";
import { ASK, HELLO, MODEL, READ, getWeather } from "./cases.mjs";

const chat = (url) =>
  new ChatAnthropic({ model: MODEL, anthropicApiUrl: url, apiKey: "none", maxTokens: 999 });

export async function plain(url) {
  return (await chat(url).invoke(HELLO)).text;
}

export async function streamed(url) {
  const pieces = [];
  for await (const chunk of await chat(url).stream(HELLO)) if (chunk.text) pieces.push(chunk.text);
  return pieces;
}

export async function tools(url) {
  const weather = tool(getWeather, {
    name: "get_weather",
    description: "The weather in a city.",
    schema: z.object({ city: z.string() }),
  });
  const model = chat(url).bindTools([weather]);
  let first;
  for await (const chunk of await model.stream(ASK)) first = first ? first.concat(chunk) : chunk;
  const [call] = first.tool_calls;
  const result = new ToolMessage({ content: getWeather(call.args), tool_call_id: call.id });
  const answer = await model.invoke([new HumanMessage(ASK), first, result]);
  return [call.name, call.args, answer.text];
}

export async function structured(url) {
  const schema = z.object({ city: z.string(), degrees: z.number().int() });
  const model = chat(url).withStructuredOutput(schema, { method: "jsonSchema", name: "Reading" });
  return model.invoke(READ);
}
