// Speaks a text by the server's own API: audio and the times of words come as events, sentence by sentence.
const RATE = 24000;
const $ = (id) => document.getElementById(id);
const state = { prompt: null, pieces: [], words: [], sources: [], context: null, begins: 0, request: null, frame: 0 };

const headers = () => ($("key").value ? { authorization: `Bearer ${$("key").value}` } : {});
const say = (text) => { $("status").textContent = text; };
const complain = (text) => { $("error").textContent = text; };

async function reason(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered ${response.status}`;
  }
}

// Voices

async function listVoices(chosen) {
  const response = await fetch("v1/audio/voices", { headers: headers() });
  if (response.status === 401) {
    document.querySelector("details").open = true;
    complain("This server asks for an API key: give it under More.");
    return;
  }
  if (!response.ok) return complain(await reason(response));
  complain("");
  const voices = await response.json();
  $("voice").replaceChildren(...voices.data.map((voice) => new Option(voice.name, voice.id)));
  if (chosen) $("voice").value = chosen;
  state.canAdd = voices.can_add;
}

function setPrompt(wav) {
  state.prompt = wav;
  $("prompt").hidden = $("forget").hidden = wav === null;
  $("voice").disabled = wav !== null;
  $("keeping").hidden = wav === null || !state.canAdd;
  if ($("prompt").src) URL.revokeObjectURL($("prompt").src);
  if (wav === null) $("prompt").removeAttribute("src");
  else $("prompt").src = URL.createObjectURL(wav);
}

async function upload(file) {
  if (!file) return;
  complain("");
  try {
    // Whatever the browser can play becomes WAV here.
    const context = new OfflineAudioContext(1, 1, RATE);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    setPrompt(toWav([audio.getChannelData(0)], audio.sampleRate));
    say(`The voice is that of ${file.name}, ${audio.duration.toFixed(1)} seconds.`);
  } catch {
    complain(`${file.name} cannot be read as audio.`);
  }
}

async function record() {
  if (state.recording) return state.recording();
  complain("");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    return complain(`The microphone cannot be used: ${error.message}`);
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("page/recorder.js");
  const node = new AudioWorkletNode(context, "recorder");
  const heard = [];
  node.port.onmessage = (event) => heard.push(event.data);
  context.createMediaStreamSource(stream).connect(node);
  $("record").setAttribute("aria-pressed", "true");
  $("record").textContent = "Stop recording";
  say("Recording.");
  state.recording = () => {
    state.recording = null;
    stream.getTracks().forEach((track) => track.stop());
    $("record").setAttribute("aria-pressed", "false");
    $("record").textContent = "Record a voice";
    const rate = context.sampleRate;
    context.close();
    const seconds = heard.reduce((sum, part) => sum + part.length, 0) / rate;
    setPrompt(toWav(heard, rate));
    say(`${seconds.toFixed(1)} seconds were recorded.`);
  };
}

async function keep() {
  const name = $("keep-name").value.trim();
  const body = new FormData();
  body.append("name", name);
  body.append("audio_sample", state.prompt, "voice.wav");
  const response = await fetch("v1/audio/voices", { method: "POST", headers: headers(), body });
  if (!response.ok) return complain(await reason(response));
  setPrompt(null);
  await listVoices(name);
  say(`The voice is kept as ${name}.`);
}

// Speech

async function speak(event) {
  event?.preventDefault();
  stop();
  complain("");
  const body = {
    input: $("text").value, voice: $("voice").value || "emma", response_format: "pcm", stream_format: "sse",
    timestamps: true, speed: Number($("speed").value),
  };
  if ($("steps").value) body.num_inference_steps = Number($("steps").value);
  if ($("seed").value) body.seed = Number($("seed").value);
  if (state.prompt) body.prompt_audio = await toBase64(state.prompt);
  state.request = new AbortController();
  state.context ??= new AudioContext({ sampleRate: RATE });
  await state.context.resume();
  Object.assign(state, { pieces: [], words: [], begins: 0 });
  $("spoken").hidden = $("download").hidden = true;
  $("words").replaceChildren();
  $("speak").disabled = $("again").disabled = true;
  $("stop").disabled = false;
  say("The speech is being made.");
  try {
    const response = await fetch("v1/audio/speech", {
      method: "POST", headers: { ...headers(), "content-type": "application/json" },
      body: JSON.stringify(body), signal: state.request.signal,
    });
    if (!response.ok) throw new Error(await reason(response));
    for await (const message of events(response.body)) {
      if (message.type === "error") throw new Error(message.error.message);
      if (message.type === "speech.audio.delta") add(message);
    }
    finish();
  } catch (error) {
    if (error.name !== "AbortError") {
      complain(error.message);
      say("");
    }
  }
  $("speak").disabled = false;
}

async function* events(body) {
  let text = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    text += read.value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

function add(message) {
  const bytes = Uint8Array.from(atob(message.audio), (character) => character.charCodeAt(0));
  const samples = Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32767);
  if (samples.length) {
    state.pieces.push(samples);
    schedule(samples);
  }
  for (const word of message.words ?? []) {
    const span = document.createElement("span");
    span.textContent = word.word;
    $("words").append(span, " ");
    state.words.push({ ...word, span });
  }
  $("spoken").hidden = false;
  draw();
}

// Each piece begins where the one before it ends; where it comes too late, all that follow are late.
function schedule(samples) {
  const { context } = state;
  const first = state.sources.length === 0;
  if (first) state.next = state.origin = context.currentTime + 0.1;
  const late = context.currentTime - state.next;
  if (late > 0) {
    state.next += late;
    state.origin += late;
  }
  const buffer = context.createBuffer(1, samples.length, RATE);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.start(state.next);
  state.sources.push(source);
  state.next += buffer.duration;
  if (first) light();
}

function light() {
  const now = state.context.currentTime - state.origin;
  for (const word of state.words) word.span.classList.toggle("lit", word.start <= now && now < word.end);
  draw(now);
  if (state.sources.length && state.context.currentTime < state.next) state.frame = requestAnimationFrame(light);
  else if (!state.request) ended();
  else state.frame = requestAnimationFrame(light);
}

function ended() {
  for (const word of state.words) word.span.classList.remove("lit");
  state.sources = [];
  $("stop").disabled = true;
}

function finish() {
  state.request = null;
  const seconds = state.pieces.reduce((sum, piece) => sum + piece.length, 0) / RATE;
  if ($("download").href) URL.revokeObjectURL($("download").href);
  $("download").href = URL.createObjectURL(toWav(state.pieces, RATE));
  $("download").hidden = $("again").disabled = false;
  $("again").disabled = false;
  $("wave").setAttribute("aria-label", `Waveform of ${seconds.toFixed(1)} seconds of speech`);
  say(`${seconds.toFixed(1)} seconds of speech.`);
}

function stop() {
  state.request?.abort();
  state.request = null;
  cancelAnimationFrame(state.frame);
  for (const source of state.sources) source.stop();
  if (state.sources.length) ended();
  $("speak").disabled = false;
}

function again() {
  stop();
  for (const piece of state.pieces) schedule(piece);
  $("stop").disabled = false;
}

function draw(now = -1) {
  const canvas = $("wave"), context = canvas.getContext("2d");
  const total = state.pieces.reduce((sum, piece) => sum + piece.length, 0);
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const position = (seconds) => (seconds * RATE / total) * width;
  context.fillStyle = "#ffd54a88";
  for (const word of state.words) {
    if (word.span.classList.contains("lit")) {
      context.fillRect(position(word.start), 0, position(word.end) - position(word.start), height);
    }
  }
  context.fillStyle = "#3367d6";
  if (state.drawn !== total) Object.assign(state, { drawn: total, peaks: peaks(width, total) });
  const loudest = Math.max(0.05, ...state.peaks);
  state.peaks.forEach((peak, x) => {
    const half = 0.48 * height * peak / loudest;
    context.fillRect(x, height / 2 - half, 1, Math.max(1, 2 * half));
  });
  if (now >= 0) {
    context.fillStyle = "#c02424";
    context.fillRect(position(now), 0, 2, height);
  }
}

function peaks(width, total) {
  const found = new Float32Array(width);
  let at = 0;
  for (const piece of state.pieces) {
    for (const sample of piece) {
      const x = Math.floor(at++ * width / total);
      if (Math.abs(sample) > found[x]) found[x] = Math.abs(sample);
    }
  }
  return found;
}

// Audio as bytes

function toWav(pieces, rate) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const write = (at, text) => [...text].forEach((c, index) => view.setUint8(at + index, c.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

$("form").addEventListener("submit", speak);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("stop").addEventListener("click", () => { stop(); say("Stopped."); });
$("again").addEventListener("click", again);
$("record").addEventListener("click", record);
$("upload").addEventListener("change", (event) => upload(event.target.files[0]));
$("forget").addEventListener("click", () => { setPrompt(null); $("upload").value = ""; say("The recording was dropped."); });
$("keep").addEventListener("click", keep);
$("key").addEventListener("change", () => listVoices());
$("speed").addEventListener("input", () => { document.querySelector("output").textContent = $("speed").value; });
listVoices();
