/** The page: asks for a token if need be, takes files and options, sends them, and shows what comes back. */

import { Refused, describe, send } from "/page/client.js";
import { byId, bytes, make } from "/page/dom.js";
import { drawCharts, hideResult, showResult } from "/page/result.js";

const FILES = ["scan", "mask", "sidecar"];
const OPTIONS = ["orientation", "drop_frames", "start", "windows", "stride", "resample_tr", "output_kind"];
const SWITCHES = ["allow_crop", "strict"];
const POINT = "point";

/** Nothing of this is stored. */
const state = { token: "", server: null, files: {}, work: null, result: null };

async function begin() {
  try {
    state.server = await describe(state.token);
  } catch (error) {
    if (error.status === 401) askForToken();
    else refuse(error);
    return;
  }
  byId("access").hidden = true;
  byId("version").textContent = state.server.version;
  const usable = state.server.models.filter((model) => model.takes_scans);
  if (!usable.length) {
    const reasons = state.server.models.map((model) => `${model.name}: ${model.reason}`).join("; ");
    refuse(new Refused(`No model of this server takes scans. ${reasons}`, 409));
    return;
  }
  byId("model").replaceChildren(...usable.map((model) => make("option", { value: model.name }, model.name)));
  chooseModel();
  byId("request").hidden = false;
}

function askForToken() {
  const again = state.token !== "";
  byId("access").hidden = false;
  byId("request").hidden = true;
  byId("access-error").hidden = !again;
  byId("access-error").textContent = again ? "This is not the server's token." : "";
  byId("token").focus();
}

const chosenModel = () => state.server.models.find((model) => model.name === byId("model").value);

function chooseModel() {
  const model = chosenModel();
  const own = model.placement ? `the model's: ${model.placement}` : "choose: the model does not state it";
  const known = Object.entries(state.server.placements).map(([name, point]) => [name, `${name} (${point.join(", ")})`]);
  byId("placement").replaceChildren(
    ...[["", own], ...known, [POINT, "a point of MNI152"]].map(([value, text]) => make("option", { value }, text)),
  );
  const names = { embedding: "embeddings", features: "features", tokens: "tokens", logits: "logits" };
  const kinds = [...model.output_kinds].reverse();
  byId("output_kind").replaceChildren(...kinds.map((kind) => make("option", { value: kind }, names[kind])));
  byId("model-note").hidden = !model.synthetic;
  byId("model-note").textContent = "The weights of this model are synthetic: its embeddings mean nothing.";
  update();
}

/** Show what is chosen, and whether that is enough. */
function update() {
  for (const name of FILES) {
    const file = state.files[name];
    byId(`${name}-name`).textContent = file ? `${file.name}, ${bytes(file.size)}` : "No file";
    byId(`${name}-name`).classList.toggle("chosen", Boolean(file));
    byId(`${name}-remove`).hidden = !file;
  }
  const placement = byId("placement").value;
  byId("point-field").hidden = placement !== POINT;
  const total = FILES.reduce((sum, name) => sum + (state.files[name]?.size ?? 0), 0);
  let hint = "";
  if (!state.files.scan) hint = "Choose a run first.";
  else if (total > state.server.max_bytes) hint = `The server takes at most ${bytes(state.server.max_bytes)}, found ${bytes(total)}.`;
  else if (!placement && !chosenModel().placement) hint = "Choose a placement.";
  byId("hint").textContent = state.work ? "" : hint;
  byId("compute").disabled = Boolean(hint || state.work);
}

/** Take a file; another run does not keep the mask and the sidecar of the one before it. */
function take(name, file) {
  if (name === "scan" && state.files.scan) state.files = {};
  state.files[name] = file;
}

/** Files by their names: a .json is the sidecar, a name with “mask” the mask, any other one the run. */
function takeFiles(files) {
  const kinds = [...files].map((file) => {
    const name = file.name.toLowerCase();
    return [name.endsWith(".json") ? "sidecar" : name.includes("mask") ? "mask" : "scan", file];
  });
  kinds.sort(([one], [other]) => FILES.indexOf(one) - FILES.indexOf(other));
  for (const [kind, file] of kinds) take(kind, file);
  update();
}

function formOf() {
  const form = new FormData();
  const placement = byId("placement").value;
  form.append("placement", placement === POINT ? byId("point").value : placement);
  for (const name of OPTIONS) if (byId(name).value) form.append(name, byId(name).value);
  for (const name of SWITCHES) if (byId(name).checked) form.append(name, "true");
  for (const name of FILES) if (state.files[name]) form.append(name, state.files[name]);
  return form;
}

async function compute() {
  hideResult();
  state.result = null;
  state.work = new AbortController();
  show("working");
  step("Sending", 0);
  try {
    state.result = await send(formOf(), {
      model: byId("model").value,
      token: state.token,
      signal: state.work.signal,
      onSent: (sent, total) => step(sent < total ? `Sending: ${bytes(sent)} of ${bytes(total)}` : "Sent", sent / total),
      onStep: (line) => step(line, shareOf(line)),
    });
    state.work = null;
    show("result");
    showResult(state.result);
    byId("announce").textContent = `Done: ${state.result.windows.length} windows.`;
    byId("result-title").focus();
  } catch (error) {
    state.work = null;
    if (error.name === "AbortError") {
      show(null);
      byId("compute").focus();
    } else if (error instanceof Refused) refuse(error);
    else {
      refuse(new Refused(`The page failed: ${error.message}`, 0));
      throw error;
    }
  }
}

/** The share of a step that is done, if its line tells. */
function shareOf(line) {
  const counts = [...line.matchAll(/(\d+) of (\d+)/g)].at(-1);
  return counts ? (Number(counts[1]) - 1) / Number(counts[2]) : null;
}

function step(text, share) {
  const line = text[0].toUpperCase() + text.slice(1);
  byId("step").textContent = line;
  if (share === null) byId("progress").removeAttribute("value");
  else byId("progress").value = share;
  // Read aloud once a step, not at every frame.
  const kind = line.split(/[: ]/)[0];
  if (!byId("announce").textContent.startsWith(kind)) byId("announce").textContent = kind;
}

function refuse(error) {
  if (error.status === 401) {
    show(null);
    askForToken();
    return;
  }
  show("refused");
  byId("refused-title").textContent = error.status === 429 ? "The server is busy" : error.status >= 400 && error.status < 500 ? "Refused" : "Failed";
  byId("reason").textContent = error.message;
  const advice = error.retry ? `Try again in about ${error.retry} s.` : namesHere(error.message);
  byId("advice").textContent = advice;
  byId("advice").hidden = !advice;
  byId("refused").focus();
}

/** What a reason's options of the command line are called on the page; opens the further options if it is one of them. */
function namesHere(reason) {
  const names = [];
  for (const option of new Set(reason.match(/--[a-z-]+/g))) {
    const field = document.querySelector(`#request #${option.slice(2).replaceAll("-", "_")}`);
    if (!field) continue;
    if (byId("more").contains(field)) byId("more").open = true;
    const words = [...field.labels[0].childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    names.push(`${option} is “${words.map((node) => node.textContent.trim()).join("")}”`);
  }
  return names.length ? `On this page, ${names.join(", ")}.` : "";
}

/** One of the sections below the form, or none. */
function show(section) {
  for (const id of ["working", "refused", "result"]) byId(id).hidden = id !== section;
  document.body.dataset.state = section ?? "empty";
  byId("cancel").hidden = !state.work;
  update();
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = byId("token").value.trim();
  byId("token").value = "";
  begin();
});
byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!byId("compute").disabled) compute();
});
byId("cancel").addEventListener("click", () => {
  state.work?.abort();
});
byId("model").addEventListener("change", chooseModel);
byId("placement").addEventListener("change", update);
for (const name of FILES) {
  byId(name).addEventListener("change", (event) => {
    if (event.target.files.length) take(name, event.target.files[0]);
    // The same file can be chosen again.
    event.target.value = "";
    update();
  });
  byId(`${name}-remove`).addEventListener("click", () => {
    delete state.files[name];
    update();
    byId(name).focus();
  });
}
let inside = 0;
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    inside = kind === "dragenter" ? inside + 1 : kind === "dragleave" ? inside - 1 : kind === "drop" ? 0 : inside;
    byId("drop").classList.toggle("over", inside > 0 || kind === "dragover");
    if (kind === "drop" && state.server && !state.work) takeFiles(event.dataTransfer.files);
    if (kind === "drop") byId("drop").classList.remove("over");
  });
}
const redraw = () => state.result && drawCharts(state.result);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
document.body.dataset.state = "empty";
begin();
