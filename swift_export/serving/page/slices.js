/** Three planes of the scan's mean volume on the model's grid. Indices rise to the right and upwards. */

import { decoded } from "/page/client.js";
import { byId, make } from "/page/dom.js";

/** For each plane: the axis across it, to the right, and upwards. */
const VIEWS = [[0, 1, 2], [1, 0, 2], [2, 0, 1]];
const NAMES = { L: "Sagittal", R: "Sagittal", A: "Coronal", P: "Coronal", I: "Axial", S: "Axial" };
const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", I: "S", S: "I" };
/** Pixels of a voxel, around the drawing for the letters, and of these. */
const SCALE = 4;
const AROUND = 34;
const LETTER = 24;
const GRID = "#56b4e9";
const COVERED = "#00be8c";

export function drawSlices(view) {
  const grey = decoded(view.grey);
  const [nx, ny, nz] = view.box.map(([start, stop]) => stop - start);
  const extent = view.size.map((size, axis) => [Math.min(0, view.box[axis][0]), Math.max(size, view.box[axis][1])]);
  const level = (voxel) => {
    const [x, y, z] = voxel.map((index, axis) => index - view.box[axis][0]);
    return x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz ? -1 : grey[x + nx * (y + ny * z)];
  };
  const place = centre(view, grey, [nx, ny, nz]);
  const panels = VIEWS.map((axes) => panel(view, extent, place, axes, level, () => panels.forEach((one) => one.draw())));
  byId("slices").replaceChildren(...panels.map((one) => one.figure));
  panels.forEach((one) => one.draw());
  describe(view);
}

/** The slices through the grid's centre, or the nearest ones with brain. */
function centre(view, grey, sizes) {
  const strides = [1, sizes[0], sizes[0] * sizes[1]];
  const brain = sizes.map((size) => new Array(size).fill(false));
  grey.forEach((shade, at) => {
    if (shade) strides.forEach((stride, axis) => { brain[axis][Math.floor(at / stride) % sizes[axis]] = true; });
  });
  return view.size.map((size, axis) => {
    const middle = Math.floor(size / 2);
    const found = brain[axis].flatMap((has, index) => (has ? [index + view.box[axis][0]] : []));
    return found.length ? found.reduce((a, b) => (Math.abs(b - middle) < Math.abs(a - middle) ? b : a)) : middle;
  });
}

function panel(view, extent, place, [normal, across, up], level, redraw) {
  const [left, right] = extent[across];
  const [low, high] = extent[up];
  const width = (right - left) * SCALE;
  const height = (high - low) * SCALE;
  const name = NAMES[view.codes[normal]];
  const canvas = make("canvas", { width: width + 2 * AROUND, height: height + 2 * AROUND, set: { role: "img" } });
  const caption = make("figcaption");
  const [first, last] = extent[normal];
  const slider = make("input", { type: "range", min: first, max: last - 1, step: 1, value: place[normal] });
  slider.setAttribute("aria-label", `${name} slice`);
  const at = (a, u) => [AROUND + (a - left) * SCALE, AROUND + (high - u) * SCALE];

  const draw = () => {
    const index = place[normal];
    caption.textContent = `${name}, ${"xyz"[normal]} ${index}${position(view, normal, index)}`;
    slider.value = index;
    slider.setAttribute("aria-valuetext", caption.textContent);
    canvas.setAttribute("aria-label", `${caption.textContent}: the scan in grey in the frame of the model's grid`);
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.putImageData(pixels(index), AROUND, AROUND);
    lines(pen);
    letters(pen);
  };

  const pixels = (index) => {
    const image = new ImageData(width, height);
    const voxel = [0, 0, 0];
    voxel[normal] = index;
    for (let u = low; u < high; u += 1) {
      for (let a = left; a < right; a += 1) {
        voxel[across] = a;
        voxel[up] = u;
        const shade = level(voxel);
        const inside = voxel.every((index, axis) => index >= view.kept[axis][0] && index < view.kept[axis][1]);
        // Brain that the model does not see is tinted. Outside the scan there is nothing.
        const [red, green, blue] = shade < 0 ? [28, 34, 42] : inside || !shade ? [shade, shade, shade] : [shade, shade * 0.45, 0];
        for (let row = (high - 1 - u) * SCALE; row < (high - u) * SCALE; row += 1) {
          let byte = 4 * (row * width + (a - left) * SCALE);
          for (let column = 0; column < SCALE; column += 1) {
            image.data[byte++] = red;
            image.data[byte++] = green;
            image.data[byte++] = blue;
            image.data[byte++] = 255;
          }
        }
      }
    }
    return image;
  };

  const lines = (pen) => {
    const frame = ([[a0, a1], [u0, u1]]) => {
      const [x0, y1] = at(a0, u0);
      const [x1, y0] = at(a1, u1);
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    };
    pen.lineWidth = 3;
    if (view.covered.some(([start, stop], axis) => start !== view.scan[axis][0] || stop !== view.scan[axis][1])) {
      pen.strokeStyle = COVERED;
      pen.setLineDash([10, 8]);
      frame([view.covered[across], view.covered[up]]);
      pen.setLineDash([]);
    }
    pen.strokeStyle = GRID;
    frame([[0, view.size[across]], [0, view.size[up]]]);
    // Where the two other planes are.
    pen.lineWidth = 1.5;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    const [x, y] = at(place[across] + 0.5, place[up] + 0.5);
    pen.moveTo(x, AROUND);
    pen.lineTo(x, AROUND + height);
    pen.moveTo(AROUND, y);
    pen.lineTo(AROUND + width, y);
    pen.stroke();
    pen.globalAlpha = 1;
  };

  const letters = (pen) => {
    pen.fillStyle = "#e9edf1";
    pen.font = `600 ${LETTER}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const [middle, centre] = [AROUND + width / 2, AROUND + height / 2];
    pen.fillText(OPPOSITE[view.codes[across]], AROUND / 2, centre);
    pen.fillText(view.codes[across], canvas.width - AROUND / 2, centre);
    pen.fillText(view.codes[up], middle, AROUND / 2);
    pen.fillText(OPPOSITE[view.codes[up]], middle, canvas.height - AROUND / 2);
  };

  slider.addEventListener("input", () => {
    place[normal] = Number(slider.value);
    redraw();
  });
  canvas.addEventListener("click", (event) => {
    const shown = canvas.getBoundingClientRect();
    const factor = canvas.width / shown.width;
    const a = Math.floor(((event.clientX - shown.left) * factor - AROUND) / SCALE) + left;
    const u = high - 1 - Math.floor(((event.clientY - shown.top) * factor - AROUND) / SCALE);
    place[across] = Math.min(Math.max(a, left), right - 1);
    place[up] = Math.min(Math.max(u, low), high - 1);
    redraw();
  });
  return { figure: make("figure", {}, caption, canvas, slider), draw };
}

/** The position of a slice in mm, if the placement tells. */
function position(view, axis, index) {
  if (!view.point) return "";
  const way = "RAS".includes(view.codes[axis]) ? 1 : -1;
  const mm = view.point[axis] + way * view.voxel_mm * (index - Math.floor(view.size[axis] / 2));
  return ` at ${mm} mm`;
}

function describe(view) {
  byId("slices-note").textContent =
    "The mean over all frames. The sliders, or a click into a slice, move the planes.";
  const keys = [["grid", `the model's grid, ${view.size.join(" x ")}`]];
  if (view.covered.some(([start, stop], axis) => start !== view.scan[axis][0] || stop !== view.scan[axis][1])) {
    keys.push(["covered", "extent of the training arrays"]);
  }
  keys.push(["scan", "background of the scan"]);
  if (view.cut) keys.push(["outside", `${view.cut.toLocaleString("en")} voxels are cropped: the model does not see them`]);
  byId("slices-key").replaceChildren(
    ...keys.map(([kind, text]) => make("li", {}, make("span", { className: `swatch ${kind}` }), text)),
  );
}
