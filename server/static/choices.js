// What the visitor chooses: a face, a voice, an emotion, a size.

import { avatars, key, offers, sampleSpeech, Sent } from "./sources.js";
import { say } from "./texts.js";

const EMOTIONS = ["neutral", "happy", "sad", "angry", "surprise", "fear", "disgust", "contempt"];

const $ = (id) => document.getElementById(id);

export class Choices {
  #faces = new Map([["sample", { picture: "demo/portrait.jpg", start: async () => ({ source: "sample" }) }]]);
  #speech = { sample: new Sent("audio", sampleSpeech), file: null };
  #tell;
  #offers = null;

  /** `tell` shows one line of text; `voiceChanged` is called with the kind of voice. */
  constructor(tell, voiceChanged) {
    this.#tell = tell;
    this.#emotionPills();
    $("choose").onsubmit = (event) => event.preventDefault();
    $("faces").onchange = ({ target }) => (target.type === "file" ? this.#pickPortrait() : this.#showStill());
    $("speech-file").onchange = () => this.#pickSpeech();
    $("key").onchange = () => { key.set($("key").value); this.showAvatars(); };
    for (const input of document.querySelectorAll("[name=voice]")) {
      input.onchange = () => {
        $("speech-drop").hidden = this.voice !== "file";
        $("voice-hint").textContent = say(`hint.${this.voice}`);
        voiceChanged(this.voice);
      };
    }
  }

  /** "sample", "file" or "microphone". */
  get voice() {
    return chosen("voice");
  }

  get options() {
    return { resolution: chosen("resolution"), emo: chosen("emo") };
  }

  /** The chosen face as the protocol names it; rejects where its file cannot be sent. */
  face() {
    return this.#faces.get(chosen("face")).start();
  }

  /** The chosen speech, a Sent; null where none is chosen. */
  get speech() {
    return this.#speech[this.voice];
  }

  /** Have the sample at the server before it is asked for; whoever asks then is told of what went wrong. */
  sendSample() {
    this.#speech.sample.path().catch(() => {});
  }

  /** While a face is live it is not exchanged. */
  set fixed(value) {
    for (const input of document.querySelectorAll("[name=face], [name=emo], [name=resolution], #portrait-file")) {
      input.disabled = value;
    }
  }

  /** The server has forgotten our files: the next use sends them again. */
  forget() {
    for (const each of [...this.#faces.values(), ...Object.values(this.#speech)]) each?.forget?.();
  }

  /** Offer the avatars that this browser has made. */
  async showAvatars() {
    const { avatars: listed, needs_key: locked } = await (this.#offers ??= offers());
    $("key-panel").hidden = !locked;
    if (!listed || (locked && !key.get())) return;
    for (const { token, label, picture } of await avatars()) {
      if (!this.#faces.has(token)) this.#addFace(token, label, { picture, start: async () => ({ avatar_token: token }) });
    }
  }

  #pickPortrait() {
    const [file] = $("portrait-file").files;
    if (!file) return;
    const sent = new Sent("source", file);
    const picture = file.type.startsWith("video/") ? "demo/icon.svg" : URL.createObjectURL(file);
    const start = async () => ({ source: await sent.path() });
    this.#addFace(`file ${this.#faces.size}`, file.name, { picture, start, forget: () => sent.forget() }).checked = true;
    this.#showStill();
    this.#send(sent);
  }

  #pickSpeech() {
    const [file] = $("speech-file").files;
    if (!file) return;
    this.#speech.file = new Sent("audio", file);
    $("speech-name").textContent = file.name;
    this.#send(this.#speech.file);
  }

  #send(sent) {
    sent.path().catch((error) => this.#tell(say("told.upload", { reason: error.message })));
  }

  #showStill() {
    $("still").src = this.#faces.get(chosen("face")).picture;
  }

  #addFace(name, label, face) {
    const tile = document.createElement("label");
    tile.className = "face";
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "face", value: name });
    const image = Object.assign(document.createElement("img"), { src: face.picture, alt: "" });
    tile.append(input, image, Object.assign(document.createElement("span"), { textContent: label }));
    $("faces").querySelector(".add").before(tile);
    this.#faces.set(name, face);
    return input;
  }

  #emotionPills() {
    for (const name of EMOTIONS) {
      const label = $("emotions").appendChild(document.createElement("label"));
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "emo", value: name });
      input.checked = name === EMOTIONS[0];
      label.append(input, Object.assign(document.createElement("span"), { textContent: say(`emo.${name}`) }));
    }
  }
}

function chosen(name) {
  return document.querySelector(`[name=${name}]:checked`).value;
}
