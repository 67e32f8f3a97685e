// On the sound thread: the microphone's samples at the device's rate -> 16 kHz, 16 bit, 40 ms at a time.
// Each sample made is the mean of what was heard in its time, which takes the tones away that 16 kHz cannot hold.

const RATE = 16000;
const BLOCK = 640;

class Sampler extends AudioWorkletProcessor {
  #step = sampleRate / RATE; // device samples to one of ours
  #missing = this.#step; // how much of them the sample that is being made still wants
  #sum = 0;
  #block = new Int16Array(BLOCK);
  #filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      let left = 1;
      while (left >= this.#missing) {
        this.#put((this.#sum + sample * this.#missing) / this.#step);
        left -= this.#missing;
        this.#sum = 0;
        this.#missing = this.#step;
      }
      this.#sum += sample * left;
      this.#missing -= left;
    }
    return true;
  }

  #put(value) {
    this.#block[this.#filled++] = Math.round(32767 * Math.max(-1, Math.min(1, value)));
    if (this.#filled < BLOCK) return;
    this.port.postMessage(this.#block.buffer, [this.#block.buffer]);
    this.#block = new Int16Array(BLOCK);
    this.#filled = 0;
  }
}

registerProcessor("sampler", Sampler);
