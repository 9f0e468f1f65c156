/** Drawings of the windows: when they are, what their vectors are, and how alike these are. */

import { byId, colour, draw, make, plural, short } from "/page/dom.js";

const LEFT = 70;
const MOST_ROWS = 8;

/** The windows over the frames of the run, below the mean of each frame. */
export function drawTimeline(result) {
  const facts = result.provenance;
  const frames = facts.grid[3];
  const [first, last] = facts.drop_frames;
  const scale = (frames - first - last) / facts.total;
  const span = facts.frames * facts.stride * scale;
  const starts = facts.starts.map((start) => first + start * scale);
  const rows = starts.length < 2 ? 1 : Math.min(Math.ceil(span / (starts[1] - starts[0]) - 1e-9), starts.length, MOST_ROWS);
  const thick = rows === 1 ? 22 : Math.max(8, Math.floor(56 / rows));
  const [top, tall] = [8, 130];
  const strip = top + tall + 10;
  const axis = strip + rows * thick + 4;
  const seconds = facts.repetition_time?.seconds;
  const height = axis + (seconds ? 46 : 24);
  const width = Math.max(byId("timeline").clientWidth, 300);
  const x = (frame) => LEFT + (frame / frames) * (width - LEFT - 2);
  const summary = `${plural(starts.length, "window")} of ${plural(facts.frames, "frame")} over ${plural(frames, "frame")}`;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary });
  const rect = (from, to, y, h, kind) =>
    svg.append(draw("rect", { x: x(from), y, width: Math.max(x(to) - x(from) - (kind.startsWith("window") ? 1 : 0), 0.5), height: h, class: kind }));
  for (const [y, h] of [[top, tall], [strip, rows * thick]]) {
    rect(0, frames, y, h, "field");
    if (first) rect(0, first, y, h, "aside");
    if (last) rect(frames - last, frames, y, h, "aside");
  }
  starts.forEach((start, number) =>
    rect(start, start + span, strip + (number % rows) * thick, thick - 1, number % 2 ? "window other" : "window"));
  drawMeans(svg, result.view, first, x, top, tall);
  svg.append(draw("text", { x: 0, y: strip + (rows * thick) / 2 + 5 }, "windows"));
  drawAxis(svg, frames, x, axis, "frames", width);
  if (seconds) drawAxis(svg, frames * seconds, (time) => x(time / seconds), axis + 22, "seconds", width);
  byId("timeline").replaceChildren(svg);
  const keys = [["window", `${plural(starts.length, "window")} of ${plural(facts.frames, "frame")}`], ["mean", "mean of each frame's brain"]];
  if (first || last) keys.push(["aside", `dropped: the first ${first} and the last ${last} frames`]);
  byId("timeline-key").replaceChildren(
    ...keys.map(([kind, text]) => make("li", {}, make("span", { className: `swatch ${kind}` }), text)),
  );
}

function drawMeans(svg, view, first, x, top, tall) {
  const means = view?.frame_means ?? [];
  const known = means.filter((mean) => mean !== null);
  if (!known.length) return;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const y = (mean) => top + 6 + (high > low ? (high - mean) / (high - low) : 0.5) * (tall - 12);
  let path = "";
  let open = false;
  means.forEach((mean, frame) => {
    if (mean !== null) path += `${open ? "L" : "M"}${x(first + frame + 0.5).toFixed(1)} ${y(mean).toFixed(1)}`;
    open = mean !== null;
  });
  svg.append(draw("path", { d: path, class: "mean" }));
  // Enough digits to tell them apart.
  const digits = Math.min(Math.max(Math.ceil(Math.log10(Math.abs(high) / (high - low || 1))) + 2, 3), 7);
  svg.append(draw("text", { x: LEFT - 8, y: top + 12, "text-anchor": "end" }, short(high, digits)));
  if (high > low) svg.append(draw("text", { x: LEFT - 8, y: top + tall - 2, "text-anchor": "end" }, short(low, digits)));
}

function drawAxis(svg, end, x, y, name, width) {
  const rough = (end * 80) / (width - LEFT);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  svg.append(draw("text", { x: 0, y: y + 16 }, name));
  for (let value = 0; value <= end * 1.0001; value += step) {
    svg.append(draw("line", { x1: x(value), x2: x(value), y1: y, y2: y + 4, class: "axis" }));
    const anchor = x(value) > width - 20 ? "end" : "middle";
    svg.append(draw("text", { x: x(value), y: y + 17, "text-anchor": anchor }, short(value)));
  }
}

/** The vectors as rows of colours. */
export function drawHeat(vectors, name) {
  const sizes = vectors.flat().map(Math.abs).sort((a, b) => a - b);
  const limit = sizes[Math.min(Math.floor(0.995 * sizes.length), sizes.length - 1)] || 1;
  const [zero, low, high] = ["--zero", "--low", "--high"].map(colour);
  const mapped = (value) => {
    const share = Math.min(Math.abs(value) / limit, 1);
    const end = value < 0 ? low : high;
    return zero.map((from, part) => from + share * (end[part] - from));
  };
  const words = `${plural(vectors.length, "window")} from top to bottom, ${plural(vectors[0].length, "value")} from left to right`;
  const tell = (row, column) => `window ${row + 1}, value ${column}: ${short(vectors[row][column])}`;
  const scale = [short(-limit, 3), make("span", { className: "bar diverging" }), short(limit, 3)];
  byId("heat-title").textContent = `${name[0].toUpperCase()}${name.slice(1)} of each window`;
  byId("heat").replaceChildren(...plot("heat", vectors, mapped, words, tell, scale));
  byId("heat").firstChild.style.height = `${Math.min(Math.max(1.5 * vectors.length, 5), 20)}rem`;
}

/** A cosine; one close to 1 by what it lacks. */
const nearOne = (cosine) => (cosine > 0.999 && cosine < 1 ? `1 − ${(1 - cosine).toExponential(1)}` : short(cosine));

/** The cosine of every pair of windows. */
export function drawSimilarity(vectors) {
  byId("similar-part").hidden = vectors.length < 2;
  if (vectors.length < 2) return;
  const norms = vectors.map((vector) => Math.hypot(...vector) || 1);
  const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
  const cosines = vectors.map((one, i) => vectors.map((other, j) => dot(one, other) / (norms[i] * norms[j])));
  const least = Math.min(...cosines.map((row) => Math.min(...row)));
  const points = ["--like-0", "--like-1", "--like-2"].map(colour);
  const mapped = (value) => {
    const share = 2 * Math.min(Math.max((value - least) / Math.max(1 - least, 1e-12), 0), 1);
    const [from, to, rest] = share < 1 ? [points[0], points[1], share] : [points[1], points[2], share - 1];
    return from.map((part, at) => part + rest * (to[at] - part));
  };
  const words = `Cosine of every two of ${plural(vectors.length, "window")}, from ${nearOne(least)} to 1`;
  const tell = (row, column) => `windows ${row + 1} and ${column + 1}: cosine ${nearOne(cosines[row][column])}`;
  const scale = [nearOne(least), make("span", { className: "bar likeness" }), "1"];
  byId("similar").replaceChildren(...plot("square", cosines, mapped, words, tell, scale));
}

/** A canvas of one pixel for each cell, its scale, and a line that tells the cell under the pointer. */
function plot(kind, cells, mapped, words, tell, scale) {
  const [height, width] = [cells.length, cells[0].length];
  const canvas = make("canvas", { width, height, className: `plot ${kind}`, set: { role: "img", "aria-label": words } });
  const image = new ImageData(width, height);
  cells.forEach((row, y) => row.forEach((value, x) => image.data.set([...mapped(value), 255], 4 * (y * width + x))));
  canvas.getContext("2d").putImageData(image, 0, 0);
  const readout = make("p", { className: "readout" }, words);
  canvas.addEventListener("pointermove", (event) => {
    const x = Math.floor((event.offsetX / canvas.clientWidth) * width);
    const y = Math.floor((event.offsetY / canvas.clientHeight) * height);
    if (x >= 0 && y >= 0 && x < width && y < height) readout.textContent = tell(y, x);
  });
  canvas.addEventListener("pointerleave", () => { readout.textContent = words; });
  return [canvas, make("p", { className: "scale" }, ...scale), readout];
}
