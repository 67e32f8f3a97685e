// The stream as single pictures and PCM, for browsers without MediaSource: sound is laid out on the clock of
// WebAudio, and each picture is drawn when its media time has come.

const HOLD_S = 0.3; // what is in hand before playing begins
const FAR_S = 1.2; // more than so much ahead is left out

export class FramePlayer {
  #canvas; #context; #gain; #rate; #zero = null; #edge = 0; #from = 0; #pictures = []; #sounds = new Set();
  #shown = 0; #dropped = 0; #quiet = false; #first; #open = true;

  /** `rate` is that of the sound, in Hz. `first` is called once, when the first picture is drawn. */
  constructor(canvas, rate, { first, fail }) {
    this.#canvas = canvas;
    this.#rate = rate;
    this.#first = first;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#gain = new GainNode(this.#context);
    this.#gain.connect(this.#context.destination);
    this.#context.resume().catch((error) => fail(error.message));
    canvas.hidden = false;
    this.#draw();
  }

  begin() {} // the pictures say themselves what they are

  /** One picture (its bytes) for `time` seconds. */
  async addFrame(bytes, time) {
    if (time < this.#from) return;
    const place = { time, bitmap: null };
    this.#pictures.push(place); // before decoding, which may end in another order
    place.bitmap = await createImageBitmap(new Blob([bytes])).catch(() => false);
    this.#edge = Math.max(this.#edge, time + 0.04);
  }

  /** 16-bit PCM, mono, from `time` seconds on. */
  addSound(bytes, time) {
    const numbers = new Int16Array(bytes.slice().buffer); // a copy begins at an even byte
    if (!numbers.length || time < this.#from) return;
    const now = this.#context.currentTime;
    const ahead = this.#zero === null ? -1 : this.#zero + time - now;
    if (ahead < 0 || ahead > FAR_S) { // the first, one that came too late, or too much in hand
      this.#hush();
      this.#zero = now + HOLD_S - time;
    }
    const sound = new AudioBuffer({ length: numbers.length, sampleRate: this.#rate });
    const samples = sound.getChannelData(0);
    for (let i = 0; i < numbers.length; i++) samples[i] = numbers[i] / 32768;
    const node = new AudioBufferSourceNode(this.#context, { buffer: sound });
    node.connect(this.#gain);
    node.onended = () => this.#sounds.delete(node);
    this.#sounds.add(node);
    node.start(this.#zero + time);
  }

  jumpTo(time) {
    this.#from = time;
    this.#zero = null; // the next sound sets the clock anew
    this.silence();
    this.#pictures = this.#pictures.filter((place) => place.time >= time);
    this.muted = this.#quiet;
  }

  silence() {
    this.#gain.gain.value = 0;
    this.#hush();
  }

  set muted(wanted) {
    this.#quiet = wanted;
    this.#gain.gain.value = wanted ? 0 : 1;
  }

  get playedS() {
    return this.#zero === null ? this.#from : Math.max(0, this.#context.currentTime - this.#zero);
  }

  get bufferedS() {
    return Math.max(0, this.#edge - this.playedS);
  }

  get shown() {
    return this.#shown;
  }

  get dropped() {
    return this.#dropped;
  }

  tend() {} // each sound that comes keeps the clock

  close() {
    this.#open = false;
    this.#hush();
    this.#pictures = [];
    this.#canvas.hidden = true;
    this.#context.close();
  }

  #hush() {
    for (const node of this.#sounds) node.stop();
    this.#sounds.clear();
  }

  #draw() {
    if (!this.#open) return;
    const now = this.#shown ? this.playedS : Infinity; // the first picture is shown at once
    let due = null;
    while (this.#pictures.length && this.#pictures[0].bitmap !== null && this.#pictures[0].time <= now) {
      if (due?.bitmap) this.#dropped++;
      due = this.#pictures.shift();
      if (now === Infinity) break;
    }
    if (due?.bitmap) this.#show(due.bitmap);
    requestAnimationFrame(() => this.#draw());
  }

  #show(bitmap) {
    const canvas = this.#canvas;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    }
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    if (!this.#shown++) this.#first(performance.now());
  }
}
