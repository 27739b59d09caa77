// The service's API: every request of the page goes through here.
import { useEffect, useState } from "./html.js";
import { apiKey, connected, epoch, fetchAnew, keyAsked } from "./store.js";

/** What went wrong, in words for the reader; `status` 0 where the service did not answer. */
export class Failure extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

const headers = () => (apiKey.get() ? { "X-API-Key": apiKey.get() } : {});
/** The path of a track's own address; its id may hold anything. */
export const pathOf = (kind, trackId) => `v1/${kind}/` + trackId.split("/").map(encodeURIComponent).join("/");

export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw lost();
  }
  if (!answer.ok) throw failure(answer.status, await answer.text());
  return answer;
}

export async function json(path, parameters, options) {
  const query = parameters ? `?${new URLSearchParams(parameters)}` : "";
  return (await request(path + query, options)).json();
}

export const post = (path, body) =>
  json(path, null, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const put = (path, body) =>
  json(path, null, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Deletes what is there; its answer, null where it has none. */
export async function remove(path) {
  const answer = await request(path, { method: "DELETE" });
  return answer.status === 204 ? null : answer.json();
}

/** Saves what is there as a file of the reader's. */
export async function save(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await request(path)).blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Sends a file, or several; `onProgress` gets the share that was sent. */
export const upload = (path, file, fields, options) => send(path, [file], fields, options);
export function send(path, files, fields, { onProgress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    for (const file of files) form.append("file", file, file.name);
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    for (const [name, value] of Object.entries(headers())) sending.setRequestHeader(name, value);
    sending.upload.onprogress = event => onProgress?.(event.loaded / Math.max(1, event.total));
    sending.onerror = () => reject(lost());
    sending.onabort = () => reject(new DOMException("another song", "AbortError"));
    sending.onload = () => {
      if (sending.status < 300) resolve(JSON.parse(sending.responseText));
      else reject(failure(sending.status, sending.responseText));
    };
    signal?.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
}

/** An address for img and audio, which send no key: with one, the file is fetched and lies in the browser. */
export async function mediaUrl(path) {
  return apiKey.get() ? URL.createObjectURL(await (await request(path)).blob()) : path;
}

/** `{data, error}` of a request that is made when `dependencies` change, and when all is to be fetched anew. */
export function useAnswer(ask, dependencies) {
  const turn = epoch.use();
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    const abort = new AbortController();
    const shown = next => abort.signal.aborted || setAnswer(next);
    ask(abort.signal).then(data => shown({ data }), error => error.name === "AbortError" || shown({ error }));
    return () => abort.abort();
  }, [...dependencies, turn]);
  return answer;
}

function failure(status, text) {
  let detail = "";
  try { detail = JSON.parse(text).detail; } catch { /* not of this service: a proxy's */ }
  if (status === 401) {
    keyAsked.set(apiKey.get() ? "This key does not open the service any more." : "This service asks for a key.");
    return new Failure("A key is needed.", status);
  }
  return new Failure(detail || `The service answered ${status}.`, status);
}

function lost() {
  if (connected.get()) {
    connected.set(false);
    waitUntilBack();
  }
  return new Failure("The service does not answer. This page tries again by itself.");
}

async function waitUntilBack() {
  while (!connected.get()) {
    await new Promise(resolve => setTimeout(resolve, 1500));
    try {
      connected.set((await fetch("health/ready", { headers: headers() })).ok);
    } catch { /* not yet */ }
  }
  fetchAnew();
}
