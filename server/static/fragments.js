// The stream as fragments of MP4, played by the browser through MediaSource: picture and sound share its clock.

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
const FAR_S = 1.2; // so far ahead of what is shown, the rest is played a little faster
const NEAR_S = 0.5; // ... until it is as near as this
const LOST_S = 3; // so far, it is not caught up but left out
const HOLD_S = 0.4; // what stays in hand after a jump
const KEEP_S = 12; // what was shown is kept no longer
const FASTER = 1.05;
const NEXT_S = 0.001; // times are rounded; so much behind a frame's own it is surely that frame

export function canPlayFragments(mime) {
  return Boolean(Source?.isTypeSupported(mime));
}

export class FragmentPlayer {
  #video; #source; #buffer = null; #queue = []; #jump = null; #shown = 0; #mime = ""; #url; #quiet = false;
  #closed = false;

  /** `first` is called once, when the first frame is on screen; `fail` with what broke. */
  constructor(video, { first, fail }) {
    this.#video = video;
    this.#source = new Source();
    this.#source.addEventListener("sourceopen", () => this.#open());
    this.#url = URL.createObjectURL(this.#source);
    video.disableRemotePlayback = true; // a managed source asks for it
    video.onerror = () => fail(video.error?.message || "decode");
    video.src = this.#url;
    video.hidden = false;
    this.#watch(first);
    video.play().catch((error) => error.name === "AbortError" || fail(error.message));
  }

  /** What is to come; before that, the source only gets ready. */
  begin(mime) {
    this.#mime = mime;
    this.#open();
  }

  /** The header, or one fragment, in the order of coming. */
  add(bytes) {
    this.#queue.push(bytes);
    this.#feed();
  }

  /** Go on at that media time as soon as it is there; silent until then. */
  jumpTo(time) {
    this.#jump = time;
    this.silence();
    this.#land();
  }

  silence() {
    this.#video.muted = true;
  }

  /** Whether the visitor wants no sound; what an interruption silenced stays silent until its jump. */
  set muted(wanted) {
    this.#quiet = wanted;
    if (this.#jump === null) this.#video.muted = wanted;
  }

  get playedS() {
    return this.#video.currentTime;
  }

  /** Seconds in hand. */
  get bufferedS() {
    const { buffered, currentTime } = this.#video;
    return buffered.length ? Math.max(0, buffered.end(buffered.length - 1) - currentTime) : 0;
  }

  /** Frames shown since the beginning. */
  get shown() {
    return this.#shown || this.#video.getVideoPlaybackQuality().totalVideoFrames;
  }

  get dropped() {
    return this.#video.getVideoPlaybackQuality().droppedVideoFrames;
  }

  /** Stay near the live edge; called a few times a second. */
  tend() {
    const video = this.#video, ahead = this.bufferedS;
    if (ahead > LOST_S) video.currentTime += ahead - HOLD_S;
    else if (ahead > FAR_S) video.playbackRate = FASTER;
    else if (ahead < NEAR_S) video.playbackRate = 1;
    this.#overGap();
    this.#feed();
  }

  close() {
    const video = this.#video;
    this.#closed = true;
    this.#queue = [];
    video.onerror = null;
    video.pause();
    video.removeAttribute("src");
    video.load();
    video.hidden = true;
    video.muted = false;
    URL.revokeObjectURL(this.#url);
  }

  #open() {
    if (this.#buffer || !this.#mime || this.#source.readyState !== "open") return;
    this.#buffer = this.#source.addSourceBuffer(this.#mime);
    this.#buffer.mode = "segments";
    this.#buffer.addEventListener("updateend", () => { this.#land(); this.#feed(); });
    this.#feed();
  }

  #feed() {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#source.readyState !== "open") return;
    const past = this.#video.currentTime - KEEP_S;
    const held = this.#video.buffered;
    if (held.length && past - held.start(0) > KEEP_S) buffer.remove(0, past);
    else if (this.#queue.length) this.#append(buffer);
  }

  #append(buffer) {
    try {
      buffer.appendBuffer(this.#queue[0]);
      this.#queue.shift();
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      buffer.remove(0, Math.max(0.1, this.#video.currentTime - 1)); // and again when that is done
    }
  }

  /** The jump of an interruption, once its time is in the buffer. */
  #land() {
    const video = this.#video;
    const last = video.buffered.length - 1;
    if (this.#jump === null || last < 0 || video.buffered.end(last) <= this.#jump + NEXT_S) return;
    const target = Math.max(this.#jump, video.buffered.start(last)) + NEXT_S;
    if (video.currentTime < target) video.currentTime = target;
    this.#jump = null;
    video.muted = this.#quiet;
  }

  /** Where playing waits before a gap whose other side is there, go on at the other side. */
  #overGap() {
    const { buffered, currentTime } = this.#video;
    if (holds(buffered, currentTime)) return;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) > currentTime) {
        this.#video.currentTime = buffered.start(i) + NEXT_S;
        return;
      }
    }
  }

  #watch(first) {
    const video = this.#video;
    if (!video.requestVideoFrameCallback) {
      video.addEventListener("loadeddata", () => first(performance.now()), { once: true });
      return;
    }
    const seen = (now, { presentedFrames }) => {
      if (this.#closed) return;
      if (!this.#shown) first(now);
      this.#shown = presentedFrames;
      video.requestVideoFrameCallback(seen);
    };
    video.requestVideoFrameCallback(seen);
  }
}

function holds(ranges, time) {
  for (let i = 0; i < ranges.length; i++) {
    if (ranges.start(i) <= time + NEXT_S && time < ranges.end(i)) return true;
  }
  return false;
}
