/** Talks with the server. */

/** A request that the server refused; `retry` is in seconds, if it states when to try again. */
export class Refused extends Error {
  constructor(reason, status, retry = null) {
    super(reason);
    this.status = status;
    this.retry = retry;
  }
}

const LOST = "The connection to the server was lost.";
const authorization = (token) => (token ? { authorization: `Bearer ${token}` } : {});

/** What the server says of its models. */
export async function describe(token) {
  let answer;
  try {
    answer = await fetch("/v1/scans", { headers: authorization(token), cache: "no-store" });
  } catch {
    throw new Refused(LOST, 0);
  }
  const found = await answer.json();
  if (!answer.ok) throw new Refused(found.error, answer.status);
  return found;
}

/**
 * Send a form and follow what becomes of it: `onSent(share)` while it is sent, `onStep(text)` while it is computed.
 * Gives the result; `signal` ends the work, here and in the server.
 */
export function send(form, { model, token, signal, onSent, onStep }) {
  const request = new XMLHttpRequest();
  request.open("POST", `/v1/scans?view=true&model=${encodeURIComponent(model)}`);
  request.setRequestHeader("accept", "application/x-ndjson");
  for (const [name, value] of Object.entries(authorization(token))) request.setRequestHeader(name, value);
  let read = 0;
  let last = null;

  const readLines = () => {
    const text = request.responseText;
    for (let end = text.indexOf("\n", read); end >= 0; end = text.indexOf("\n", read)) {
      last = JSON.parse(text.slice(read, end));
      read = end + 1;
      if (last.progress) onStep(last.progress);
    }
  };

  return new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onprogress = () => request.status === 200 && readLines();
    request.onerror = () => reject(new Refused(LOST, 0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      try {
        if (request.status === 200) {
          readLines();
          if (last?.result) resolve(last.result);
          else reject(new Refused(last?.error ?? LOST, last?.status ?? 0));
        } else {
          const retry = request.getResponseHeader("retry-after");
          reject(new Refused(JSON.parse(request.responseText).error, request.status, retry && Number(retry)));
        }
      } catch {
        reject(new Refused(LOST, request.status));
      }
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** The bytes of base64. */
export const decoded = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
