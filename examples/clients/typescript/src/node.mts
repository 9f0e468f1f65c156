// Computes the input of a layout in onnxruntime-node, and compares:  node dist/node.mjs LAYOUT

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { run, type SmokeTest } from "./smoke_test.mjs";

const folder = process.argv[2];
if (!folder) {
  console.error("usage: node dist/node.mjs LAYOUT");
  process.exit(2);
}
const test = JSON.parse(await readFile(join(folder, "layout.json"), "utf8")).smoke_test as SmokeTest;
const session = await ort.InferenceSession.create(join(folder, "models", test.model, "1", "model.onnx"));

const result = await run(session, ort.Tensor, test, async (file) => {
  const data = await readFile(join(folder, file));
  return new Uint8Array(data).buffer;
});
console.log(result.lines.join("\n"));
console.log(`${result.seconds.toFixed(2)} s`);
process.exit(result.agreed ? 0 : 1);
