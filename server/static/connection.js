// The socket of one live session (docs/protocol.md): it comes back by itself and goes on where it was.

const PROTOCOL = "visavis.v2";
const WAITS_S = [0.5, 1, 2, 3];
const MOST_TRIES = 20;
const SILENT_MS = 4000; // a live server tells its figures every second: after so long it is not there
const HEAD = 20; // bytes before the media
export const KIND = { header: 1, fragment: 2, frame: 3, sound: 4 };

/** A binary message -> { kind, epoch, sequence, time in seconds, bytes }. */
function readMedia(buffer) {
  const view = new DataView(buffer);
  return {
    kind: view.getUint8(0),
    epoch: view.getUint32(4),
    sequence: view.getUint32(8),
    time: view.getFloat64(12),
    bytes: new Uint8Array(buffer, HEAD),
  };
}

export class Connection {
  #address; #start; #on; #socket = null; #timer = 0; #tries = 0; #over = false;
  #session = null; #resume = null; #ready = false; #last = 0; #refused = "";
  #heardAt = 0; #watch;

  /**
   * `start` is the message that begins the session. What happens is told to `on`: ready(message, fresh), where
   * fresh means that nothing goes on from before; media(message), message(message), lost(seconds until the next
   * try), over(reason, text) at the end, once.
   */
  constructor(base, key, start, on) {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0"));
    this.#address = new URL(`ws/${id.join("")}`, base);
    this.#address.protocol = base.protocol === "https:" ? "wss:" : "ws:";
    if (key) this.#address.searchParams.set("key", key);
    this.#start = start;
    this.#on = on;
    this.#watch = setInterval(() => this.#notice(), 1000);
    this.#open();
  }

  /** The sequence of the last media message. */
  get last() {
    return this.#last;
  }

  /** Send a message, or the bytes of sound; without a connection nothing is sent -> whether it was. */
  send(message) {
    if (!this.#ready) return false;
    this.#socket.send(message instanceof ArrayBuffer ? message : JSON.stringify(message));
    return true;
  }

  /** End the session. */
  stop() {
    this.send({ type: "stop" });
    this.#end("stopped");
  }

  #open() {
    const socket = new WebSocket(this.#address, PROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify(this.#beginning()));
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#take(data);
    };
    socket.onclose = () => this.#lost();
  }

  #beginning() {
    return this.#resume ? { ...this.#start, resume: this.#resume, last: this.#last } : this.#start;
  }

  #take(data) {
    const media = readMedia(data);
    this.#last = media.sequence;
    this.#on.media(media);
  }

  #hear(message) {
    if (message.type === "ready") {
      const fresh = message.session !== this.#session;
      [this.#session, this.#resume, this.#ready, this.#tries] = [message.session, message.resume, true, 0];
      if (fresh) this.#last = 0;
      this.#on.ready(message, fresh);
    } else if (message.type === "error" && !this.#ready) {
      this.#refuse(message);
    } else if (message.type === "bye") {
      this.#end(message.reason, message.reason === "failed" ? this.#refused : "");
    } else {
      if (message.type === "error") this.#refused = message.message;
      this.#on.message(message);
    }
  }

  /** The session cannot begin; one that cannot go on begins anew. */
  #refuse(message) {
    if (!this.#resume) {
      this.#end("refused", message.message);
      return;
    }
    this.#resume = null;
    this.#drop();
    this.#open();
  }

  /** A connection that hangs would tell of its end much later. */
  #notice() {
    if (!this.#ready || performance.now() - this.#heardAt < SILENT_MS) return;
    this.#drop();
    this.#lost();
  }

  #drop() {
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(4000); // not a clean end: the session waits
  }

  #lost() {
    this.#ready = false;
    if (this.#over) return;
    if (this.#tries >= MOST_TRIES || this.#session === null) { // the first time, it is told at once
      this.#end("unreachable");
      return;
    }
    const wait = WAITS_S[Math.min(this.#tries++, WAITS_S.length - 1)];
    this.#on.lost(wait);
    this.#timer = setTimeout(() => this.#open(), 1000 * wait);
  }

  #end(reason, text = "") {
    if (this.#over) return;
    this.#over = true;
    this.#ready = false;
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#socket.close();
    this.#on.over(reason, text);
  }
}
