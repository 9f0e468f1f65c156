/** The result of a scan: facts, warnings, drawings, files. */

import { drawHeat, drawSimilarity, drawTimeline } from "/page/charts.js";
import { decoded } from "/page/client.js";
import { byId, bytes, make, plural, short } from "/page/dom.js";
import { drawSlices } from "/page/slices.js";

/** Addresses of the files of the last result. */
let addresses = [];

export function showResult(result) {
  const vectors = result.windows.map((window) => window[result.vectors]);
  byId("result-title").textContent = result.file;
  byId("warnings").hidden = !result.warnings.length;
  byId("warnings").replaceChildren(...result.warnings.map((line) => make("li", {}, line)));
  showFiles(result);
  byId("facts").replaceChildren(
    ...facts(result, vectors).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  for (const id of ["slices", "slices-title", "slices-note", "slices-key"]) byId(id).hidden = !result.view;
  if (result.view) drawSlices(result.view);
  drawCharts(result);
  showTable(result, vectors);
}

/** The drawings in the colours and the width of the page. */
export function drawCharts(result) {
  const vectors = result.windows.map((window) => window[result.vectors]);
  drawTimeline(result);
  drawHeat(vectors, result.vectors);
  drawSimilarity(vectors);
}

export function hideResult() {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  byId("downloads").replaceChildren();
}

function showFiles(result) {
  hideResult();
  const name = result.file.replace(/\.nii(\.gz)?$/i, "");
  const kind = result.provenance.output_kind;
  const files = [
    [`${name}_${result.vectors}.tsv`, "text/tab-separated-values", new TextEncoder().encode(result.files.tsv), "TSV"],
    [`${name}_${kind}.safetensors`, "application/octet-stream", decoded(result.files.safetensors), "safetensors"],
  ];
  for (const [file, type, content, format] of files) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    addresses.push(address);
    const text = `Download ${format} (${bytes(content.length)})`;
    byId("downloads").append(make("a", { className: "button", href: address, download: file }, text));
  }
}

function facts(result, vectors) {
  const found = result.provenance;
  const [x, y, z, frames] = found.grid;
  const time = found.repetition_time;
  const resampled = found.resample_tr ? `, resampled to ${found.resample_tr} s` : "";
  return [
    ["Model", `${result.model}, version ${result.version}`],
    ["Placement", found.point ? `${found.placement}: grid's centre at (${found.point.join(", ")}) mm` : found.placement],
    ["Orientation", found.orientation],
    ["Scan", `${x} x ${y} x ${z}, ${plural(frames, "frame")}`],
    ["Repetition time", time ? `${time.seconds} s (${time.source})${resampled}` : "unknown"],
    ["Windows", `${vectors.length} of ${plural(found.frames, "frame")}`],
    ["Mask", found.mask ?? "none"],
    ["Mean ± deviation", `${short(found.mean, 5)} ± ${short(found.deviation, 5)}`],
    ["Brain", `${(100 * found.foreground).toFixed(1)} % of the values`],
    ["Runtime", `${found.runtime.name} ${found.runtime.version}, ${found.runtime.device}`],
    ["SHA-256 of the run", make("span", { title: result.sha256 }, `${result.sha256.slice(0, 16)}…`)],
  ];
}

function showTable(result, vectors) {
  const mean = result.mean;
  const length = Math.hypot(...mean) || 1;
  const head = ["Window", "First frame", "Onset, s", "Norm", "Cosine with the mean"];
  const rows = vectors.map((vector, at) => {
    const { first_frame: first, onset } = result.windows[at];
    const norm = Math.hypot(...vector);
    const cosine = vector.reduce((sum, value, i) => sum + value * mean[i], 0) / ((norm || 1) * length);
    return [at + 1, first ?? "n/a", onset ?? "n/a", short(norm, 5), short(cosine, 7)];
  });
  byId("table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, String(cell)))))),
  );
}
