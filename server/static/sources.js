// Where face and voice come from: samples, the visitor's files, the avatars that this browser has made.

import { say } from "./texts.js";

const BASE = new URL("..", import.meta.url); // the page may hang below a prefix
const KEY = "visavis-key";
const MOST_AVATARS = 12;
const MADE_UP = /^$|^[\w-]{20,}$/; // no label, or the name that the server gave an upload

export { BASE };
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

/** Ask the server; the key goes along. */
function ask(path, options = {}) {
  return fetch(new URL(path, BASE), { ...options, headers: key.get() ? { "X-API-Key": key.get() } : {} });
}

/** Send a file as `source` or `audio` -> the path by which the server knows it. Rejects with what went wrong. */
async function upload(kind, file) {
  const form = new FormData();
  form.append(kind, file, file.name);
  const answer = await ask("upload", { method: "POST", body: form });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.message ?? body.error ?? `HTTP ${answer.status}`);
  return body[`${kind}_path`];
}

/** A file that is sent once, when it is chosen, and again only where the server has forgotten it. */
export class Sent {
  #kind; #file; #path = null;

  /** `file` is a File, or a function that promises one. */
  constructor(kind, file) {
    this.#kind = kind;
    this.#file = file;
  }

  path() {
    this.#path ??= this.#send().catch((error) => {
      this.#path = null;
      throw error;
    });
    return this.#path;
  }

  forget() {
    this.#path = null;
  }

  async #send() {
    const file = typeof this.#file === "function" ? await this.#file() : this.#file;
    return upload(this.#kind, file);
  }
}

export async function sampleSpeech() {
  const answer = await fetch(new URL("demo/speech.wav", BASE));
  return new File([await answer.blob()], "speech.wav", { type: "audio/wav" });
}

/** What the server offers: { avatars: whether it lists them, needs_key }. */
export async function offers() {
  const answer = await ask("demo/server.json");
  return answer.json();
}

/** This browser's newest avatars as [{ token, label, picture }], but for the sample, which is there anyway. */
export async function avatars() {
  const answer = await ask("avatars");
  if (!answer.ok) return [];
  const list = (await answer.json()).filter(({ label, thumbnail }) => label !== "sample" && thumbnail);
  return Promise.all(list.slice(0, MOST_AVATARS).map(async ({ token, label }) => {
    const thumbnail = await ask(`avatars/${encodeURIComponent(token)}/thumbnail`);
    const picture = URL.createObjectURL(await thumbnail.blob());
    return { token, label: MADE_UP.test(label) ? say("avatar") : label, picture };
  }));
}
