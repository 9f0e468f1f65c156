// Computes the input of a layout in this page by onnxruntime-web, in WebAssembly. serve.py serves page and layout.

import * as ort from "onnxruntime-web";
import { run, type SmokeTest } from "./smoke_test.mjs";

const page = document.getElementById("result")!;

async function read(file: string): Promise<ArrayBuffer> {
  const answer = await fetch(`/layout/${file}`);
  if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
  return answer.arrayBuffer();
}

async function main(): Promise<{ agreed: boolean; text: string }> {
  // Threads need a page that is isolated from others, which serve.py's headers ask for.
  ort.env.wasm.numThreads = crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const { smoke_test: test } = JSON.parse(new TextDecoder().decode(await read("layout.json"))) as { smoke_test: SmokeTest };
  page.textContent = "loading";
  const start = performance.now();
  const model = await read(`models/${test.model}/1/model.onnx`);
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], enableMemPattern: false });
  const loaded = (performance.now() - start) / 1000;
  page.textContent = "computing";
  const result = await run(session, ort.Tensor, test, read);
  const times = `loaded in ${loaded.toFixed(1)} s, computed in ${result.seconds.toFixed(1)} s with ${ort.env.wasm.numThreads} threads`;
  return { agreed: result.agreed, text: [...result.lines, times].join("\n") };
}

const told = await main().catch((error) => ({ agreed: false, text: String(error) }));
page.textContent = told.text;
await fetch("/result", { method: "POST", body: JSON.stringify(told) });
