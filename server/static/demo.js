// The page: choices on the left, the live face on the right, and what happens between them.

import { Choices } from "./choices.js";
import { Connection, KIND } from "./connection.js";
import { Figures } from "./figures.js";
import { canPlayFragments, FragmentPlayer } from "./fragments.js";
import { FramePlayer } from "./frames.js";
import { Microphone } from "./microphone.js";
import { BASE, key } from "./sources.js";
import { fill, say } from "./texts.js";

const MIME = 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"';
const SOUND_RATE = 16000;
const TICK_MS = 200;
const A_SECOND = 1000;

const $ = (id) => document.getElementById(id);

let live = null; // { connection, player, began, marks, ... } between Start and Stop
let microphone = null;
let muted = false;

// --- what is shown

function tell(text, kind = "error") {
  $("told").textContent = text;
  $("told").dataset.kind = kind;
  $("told").hidden = !text;
}

function state(name) {
  $("state").dataset.state = name;
  $("state").textContent = say(`state.${name}`);
}

function show() {
  const on = live !== null;
  for (const [id, shown] of [["start", !on], ["speak", on], ["interrupt", on], ["stop", on]]) $(id).hidden = !shown;
  choices.fixed = on;
  $("speak").textContent = say(microphone ? "listen" : "speak");
  $("speak").ariaPressed = String(microphone !== null);
  $("speak").disabled = $("interrupt").disabled = !live?.shown;
  $("veil").hidden = !on || live.shown;
}

// --- the session

async function start() {
  const began = performance.now(); // what Start costs is counted from the click
  const media = canPlayFragments(MIME) ? "fmp4" : "frames";
  const now = { began, media, connection: null, player: null, shown: false, used: false, interrupting: false };
  live = now;
  tell("");
  figures.clear();
  state("wait");
  show();
  newPlayer(now); // in the click itself: later, a browser would not let it sound
  try {
    const source = await choices.face();
    if (live !== now) return;
    const message = { type: "start", ...source, options: choices.options, media, audio_in: { codec: "pcm_s16le", rate: SOUND_RATE } };
    now.connection = new Connection(BASE, key.get(), message, listener(now));
    choices.sendSample();
  } catch (error) {
    finish(say("told.upload", { reason: error.message }));
  }
}

function newPlayer(now) {
  now.player?.close();
  const events = {
    first: (at) => appear(now, at),
    fail: (reason) => finish(`${say("told.no_player")} ${reason}`),
  };
  now.player = now.media === "fmp4" ? new FragmentPlayer($("video"), events) : new FramePlayer($("canvas"), SOUND_RATE, events);
  now.player.muted = muted;
  [now.marks, now.counted] = [[], 0];
}

function appear(now, at) {
  if (!now.shown) figures.first(at - now.began);
  now.shown = true;
  state("live");
  show();
}

function listener(now) {
  return {
    ready(message, fresh) {
      if (now.used) tell(say(fresh ? "told.anew" : "told.back"), "news");
      if (fresh && now.used) newPlayer(now);
      if (fresh) now.player.begin(message.mime);
      now.used = true;
      if (now.shown) state("live");
      if (now.interrupting) now.connection.send({ type: "interrupt" });
    },
    media({ kind, time, bytes }) {
      if (kind === KIND.frame) now.player.addFrame(bytes, time);
      else if (kind === KIND.sound) now.player.addSound(bytes, time);
      else now.player.add(bytes);
    },
    message: (message) => answer(now, message),
    lost(seconds) {
      state("again");
      tell(say("told.lost", { seconds }), "news");
    },
    over(reason, text) {
      if (reason === "stopped") finish("");
      else if (reason === "unreachable") finish(say($("key-panel").hidden ? "told.gave_up" : "told.locked"));
      else finish(text || say("told.bye", { reason }));
    },
  };
}

function answer(now, message) {
  if (message.type === "stats") figures.told(message);
  else if (message.type === "speaking") now.marks.push(message);
  else if (message.type === "interrupted") {
    now.interrupting = false;
    now.marks = now.marks.filter((mark) => mark.epoch >= message.epoch);
    now.player.jumpTo(message.time);
    state("live");
    tell(say("told.interrupted"), "news");
  } else if (message.type === "error") {
    tell(message.message);
    if (message.code === "bad_path") choices.forget();
  }
}

async function speak() {
  tell("");
  if (choices.voice === "microphone") {
    await (microphone ? hush() : listen());
    return;
  }
  const sound = choices.speech;
  if (!sound) {
    tell(say("told.no_speech"));
    return;
  }
  try {
    live?.connection.send({ type: "say", audio: await sound.path() });
  } catch (error) {
    tell(say("told.upload", { reason: error.message }));
  }
}

async function listen() {
  try {
    microphone = await Microphone.open((bytes) => live?.connection.send(bytes));
    if (!live) hush();
  } catch (error) {
    tell(say("told.no_microphone", { reason: error.message }));
  }
  show();
}

function hush() {
  if (!microphone) return;
  microphone.close();
  microphone = null;
  live?.connection.send({ type: "end" });
  show();
}

function interrupt() {
  hush();
  live.player.silence(); // at once; the server's answer tells where to go on
  live.interrupting = true;
  live.connection.send({ type: "interrupt" });
}

function finish(text) {
  if (!live) return;
  const ended = live;
  hush();
  live = null;
  ended.connection?.stop();
  ended.player.close();
  state("off");
  tell(text);
  show();
  $("start").focus({ preventScroll: true });
}

// --- time goes by

function tick() {
  if (!live?.shown) return;
  live.player.tend();
  const due = live.marks.filter((mark) => mark.time <= live.player.playedS);
  live.marks = live.marks.filter((mark) => !due.includes(mark));
  if (due.length) state(due.at(-1).on ? "speaking" : "live");
}

function eachSecond() {
  if (!live?.shown) return;
  const { player, connection } = live;
  const at = performance.now(), frames = player.shown;
  if (live.counted) figures.played((A_SECOND * (frames - live.frames)) / (at - live.counted), player.bufferedS, player.dropped);
  [live.counted, live.frames] = [at, frames];
  connection.send({
    type: "report", buffered_s: player.bufferedS, played_s: player.playedS, dropped: player.dropped, last: connection.last,
  });
}

// --- the page begins

const choices = new Choices(tell, (voice) => voice === "microphone" || hush());
const figures = new Figures($("facts"));
fill();
state("off");
show();
$("start").onclick = start;
$("speak").onclick = speak;
$("interrupt").onclick = interrupt;
$("stop").onclick = () => finish("");
$("sound").onclick = () => {
  muted = !muted;
  $("sound").ariaPressed = String(muted);
  if (live) live.player.muted = muted;
};
setInterval(tick, TICK_MS);
setInterval(eachSecond, A_SECOND);
addEventListener("pagehide", () => finish(""));
choices.showAvatars();
