// What both clients share: the arrays of a layout as tensors, and their comparison.

import type { Tensor, TensorConstructor, InferenceSession } from "onnxruntime-common";

export interface Described {
  name: string;
  dtype: string;
  shape: number[];
  file: string;
}

export interface SmokeTest {
  model: string;
  inputs: Described[];
  outputs: Described[];
  relative_l2: number;
  relative_max: number;
  computed_by: string;
}

export interface Result {
  agreed: boolean;
  lines: string[];
  seconds: number;
}

type Numbers = ArrayLike<number | bigint>;

const ARRAYS: Record<string, new (buffer: ArrayBuffer) => Tensor.DataType> = {
  bool: Uint8Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** Compute the test's inputs in a session, and compare the outputs with the recorded ones. */
export async function run(
  session: InferenceSession,
  constructor: TensorConstructor,
  test: SmokeTest,
  read: (file: string) => Promise<ArrayBuffer>,
): Promise<Result> {
  const feeds: Record<string, Tensor> = {};
  for (const input of test.inputs) {
    feeds[input.name] = new constructor(input.dtype as Tensor.Type, await array(input, read), input.shape);
  }
  const start = performance.now();
  const found = await session.run(feeds);
  const seconds = (performance.now() - start) / 1000;
  const lines: string[] = [];
  let agreed = true;
  for (const output of test.outputs) {
    const expected = (await array(output, read)) as unknown as Numbers;
    const tensor = found[output.name];
    const same = tensor.type === output.dtype && tensor.dims.join() === output.shape.join();
    const [error, largest] = same ? differences(tensor.data as unknown as Numbers, expected) : [Infinity, Infinity];
    const exact = !output.dtype.startsWith("float");
    const [l2, max] = exact ? [0, 0] : [test.relative_l2, test.relative_max];
    // NaN is never within a limit.
    agreed = agreed && error <= l2 && largest <= max;
    lines.push(`${output.name}: relative L2 ${error.toPrecision(2)}, largest ${largest.toPrecision(2)}, allowed ${l2} and ${max}`);
  }
  lines.push(`${agreed ? "agrees" : "does not agree"} with the outputs of ${test.computed_by}`);
  return { agreed, lines, seconds };
}

async function array(tensor: Described, read: (file: string) => Promise<ArrayBuffer>): Promise<Tensor.DataType> {
  const kind = ARRAYS[tensor.dtype];
  if (!kind) throw new Error(`${tensor.name}: expected one of ${Object.keys(ARRAYS).join(", ")}, found ${tensor.dtype}`);
  return new kind(await read(tensor.file));
}

/** The L2 norm of the difference over that of the expected values, and the same of the largest magnitudes. */
function differences(found: Numbers, expected: Numbers): [number, number] {
  let squares = 0, size = 0, largest = 0, peak = 0;
  for (let i = 0; i < expected.length; i++) {
    const right = Number(expected[i]);
    const difference = Math.abs(Number(found[i]) - right);
    squares += difference ** 2;
    size += right ** 2;
    // Math.max keeps NaN.
    largest = Math.max(largest, difference);
    peak = Math.max(peak, Math.abs(right));
  }
  return [ratio(Math.sqrt(squares), Math.sqrt(size)), ratio(largest, peak)];
}

function ratio(error: number, size: number): number {
  return size ? error / size : error ? Infinity : 0;
}
