// The microphone as 16 kHz PCM, from `open` until `close`.

export class Microphone {
  #context; #stream; #node;

  /** Asks the visitor; `heard` gets an ArrayBuffer of 16-bit samples every 40 ms. Rejects where it is refused. */
  static async open(heard) {
    if (!navigator.mediaDevices) throw new Error("this page is not served over https");
    const made = new Microphone();
    made.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    try {
      made.#context = new AudioContext();
      await made.#context.audioWorklet.addModule(new URL("sampler.js", import.meta.url));
      const source = new MediaStreamAudioSourceNode(made.#context, { mediaStream: made.#stream });
      made.#node = new AudioWorkletNode(made.#context, "sampler", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      made.#node.port.onmessage = ({ data }) => heard(data);
      source.connect(made.#node);
    } catch (error) {
      made.close();
      throw error;
    }
    return made;
  }

  close() {
    if (this.#node) this.#node.port.onmessage = null;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context?.close();
  }
}
