/** Elements by id, and new ones; text is always set as text. */

export const byId = (id) => document.getElementById(id);

/** A new element with properties, attributes (in `set`) and children. */
export function make(tag, properties = {}, ...children) {
  const { set = {}, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  for (const [name, value] of Object.entries(set)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A new element of a drawing. */
export function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** A colour of the style sheet as three numbers. */
export function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const whole = text.length === 3 ? [...text].map((digit) => digit + digit).join("") : text;
  return [0, 2, 4].map((at) => parseInt(whole.slice(at, at + 2), 16));
}

/** A number with a few digits. */
export const short = (value, digits = 4) => String(Number(value.toPrecision(digits)));

/** A count with its noun. */
export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** A size in bytes, for people. */
export function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  let power = 0;
  while (count >= 1000 && power < units.length - 1) {
    count /= 1000;
    power += 1;
  }
  return `${power && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}
