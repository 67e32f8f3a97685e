// Every text of the page. Another language is another entry here, with the same names.

const TEXTS = {
  en: {
    live: "live",
    tagline: "Choose a face and a voice, and watch it speak.",
    notice: "Everything shown here is AI-generated. Use only faces and voices you have the right to use, and tell your viewers.",
    badge: "AI-generated",
    portrait: "Portrait",
    sample: "Sample",
    upload: "Upload",
    avatar: "My avatar",
    voice: "Voice",
    "voice.sample": "Sample speech",
    "voice.file": "Sound file",
    "voice.microphone": "Microphone",
    "voice.choose": "Choose a sound file: wav, mp3, m4a, flac or ogg",
    "hint.sample": "Eight seconds of built-in speech.",
    "hint.file": "The whole file is spoken; Interrupt stops it at any moment.",
    "hint.microphone": "The face says what you say. Headphones keep it from hearing itself.",
    style: "Expression and picture",
    emo: "Emotion",
    "emo.angry": "Angry",
    "emo.disgust": "Disgust",
    "emo.fear": "Fear",
    "emo.happy": "Happy",
    "emo.neutral": "Neutral",
    "emo.sad": "Sad",
    "emo.surprise": "Surprise",
    "emo.contempt": "Contempt",
    resolution: "Picture",
    key: "Access key",
    "hint.key": "This server asks for a key. It is kept until you close this tab.",
    stage: "Live face",
    figures: "Figures of the live stream",
    mute: "Mute",
    start: "Start",
    speak: "Speak",
    listen: "Switch the microphone off",
    interrupt: "Interrupt",
    stop: "Stop",
    waking: "Waking the face",
    "state.off": "Not connected",
    "state.wait": "Connecting",
    "state.again": "Reconnecting",
    "state.live": "Live",
    "state.speaking": "Speaking",
    "told.lost": "The connection was lost; trying again in {seconds} s.",
    "told.back": "Connected again.",
    "told.anew": "Connected again, with a new session.",
    "told.gave_up": "The server cannot be reached. Press Start to try again.",
    "told.locked": "The server refused the connection: is the access key right?",
    "told.interrupted": "Interrupted.",
    "told.bye": "The server ended the session: {reason}.",
    "told.no_speech": "Choose a sound file first.",
    "told.no_microphone": "The microphone cannot be used: {reason}.",
    "told.upload": "The file could not be sent: {reason}.",
    "told.no_player": "This browser cannot play the stream.",
    "fact.fps": "frames a second",
    "fact.first": "to the first frame",
    "fact.drift": "sound against picture",
    "fact.quality": "quality",
    "fact.buffered": "in hand",
    "fact.dropped": "frames left out",
    "quality.crf": "CRF {crf}",
    "quality.every": "CRF {crf}, 1 of {divisor}",
    none: "–",
  },
};

const LANGUAGE = navigator.languages.map((name) => name.slice(0, 2)).find((name) => name in TEXTS) ?? "en";

/** The text of that name, with {places} filled; text that is not ours stays text, never markup. */
export function say(name, places = {}) {
  const text = TEXTS[LANGUAGE][name] ?? TEXTS.en[name];
  return text.replace(/\{(\w+)\}/g, (_, place) => places[place]);
}

/** Put every text into its element: data-text is its content, data-label its name for those who do not see it. */
export function fill() {
  document.documentElement.lang = LANGUAGE;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = say(element.dataset.label);
}
