// Drop a song: a file, a recording or a track's name, and the answer to it.
import { html, useEffect, useRef, useState } from "./html.js";
import { json, post, upload, useAnswer } from "./api.js";
import { fetchAnew, message, ready, say, store } from "./store.js";
import { Description, Neighbours } from "./answer.js";
import { Landing } from "./landing.js";
import { addressOf, Art, Icon, Loading, nameOf, PlayButton, Problem, spoken, useTitle } from "./parts.js";
import { art, decode, Spectrum } from "./waveform.js";

/** The song that was dropped last: `{track, file, samples, sent, answer, place, error}`; null before. */
export const song = store(null);
const RECORDING_SECONDS = 10;
const ACCEPT = "audio/*,video/*,.mp3,.flac,.ogg,.opus,.m4a,.wav,.aiff,.wma,.ape,.wv";
const SUGGESTIONS = 12;
let hearing = null;

/** Takes a song from what was dropped or chosen; says why where it is none. */
export function take(files) {
  const file = files?.[0];
  if (!file) return;
  const problem = refusal(file);
  if (problem) return say(problem, true);
  files.length > 1 ? say(`One song at a time: this is ${file.name}.`) : message.set(null);
  hear(file);
  location.hash = "#/song";
}

function refusal(file) {
  const limit = ready.get()?.upload_bytes;
  if (limit && file.size > limit) {
    return `${file.name} has ${Math.round(file.size / 2 ** 20)} MB, and the service takes ${Math.round(limit / 2 ** 20)} MB at most. A song is smaller: is it an album in one file?`;
  }
  if (!file.size) return `${file.name} is empty, or a folder. Drop a single song.`;
  if (/^(image|text|font|model)\/|pdf|zip|msword|officedocument/.test(file.type)) {
    return `${file.name} is ${file.type.includes("pdf") ? "a PDF" : "no song"}. Drop an audio file: MP3, FLAC, Ogg, M4A, WAV …`;
  }
  return "";
}

/** Draws it and has it heard, both at once. */
export async function hear(file) {
  hearing?.abort();
  const { signal } = (hearing = new AbortController());
  if (song.get()) URL.revokeObjectURL(song.get().track.url);
  const track = { track_id: `dropped/${file.name}/${Date.now()}`, title: spoken(file.name), url: URL.createObjectURL(file), has_audio: true };
  song.set({ track, file, samples: undefined, sent: 0 });
  const update = part => signal.aborted || song.update(part);
  decode(file).then(async samples => {
    update({ samples });
    if (samples) update({ track: { ...track, art: await art(samples) } });
  });
  try {
    const answer = await ask(file, { signal, onProgress: sent => update({ sent }) });
    update({ answer });
    if (!answer.embedding) return;
    // A library whose map can't hold it has none to show: the answer stands without.
    post("v1/map/place", { embedding: answer.embedding }).then(({ x, y }) => update({ place: [x, y] }), () => {});
  } catch (error) {
    if (error.name !== "AbortError") update({ error });
  }
}

async function ask(file, options) {
  try {
    return await upload("v1/compared_tracks", file, { k: 10 }, options);
  } catch (error) {
    // A library without embeddings, or none at all: what the song is can be said all the same.
    if (error.status !== 503 || error.message.startsWith("uploads:")) throw error;
    const notes = ready.get()?.tracks ? [error.message] : [];
    return { heard: await upload("v1/classify", file, {}, options), tracks: [], others: [], notes, track_id: null, title: null, artists: [] };
  }
}

export function HomeScreen() {
  const chooser = useRef();
  useTitle("Drop a song");
  return html`
    <div class="home">
      <section class="drop-zone">
        <svg class="crossing" viewBox="0 0 240 60" aria-hidden="true"><path class="warm" d="M4 54C110 54 130 6 236 6" /><path class="cool" d="M4 6C110 6 130 54 236 54" /></svg>
        <h1 tabindex="-1">Drop a song</h1>
        <p>See what it is. Hear what is like it.</p>
        <div class="choices">
          <button class="primary" onClick=${() => chooser.current.click()}><${Icon} name="file" />Choose a file</button>
          <${Recorder} />
        </div>
        <input ref=${chooser} type="file" accept=${ACCEPT} hidden aria-label="Audio file" onChange=${event => { take(event.target.files); event.target.value = ""; }} />
        <p class="sub">Or paste the name of a track. What you drop is heard here, and kept only if you add it to the library.</p>
      </section>
      <${Suggestions} />
    </div>`;
}

/** `{tracks, error}`: twelve tracks from all over the library. */
export function useSuggestions() {
  const { data, error } = useAnswer(signal => json("v1/tracks", { k: 500 }, { signal }), []);
  const found = data?.tracks || [], count = Math.min(SUGGESTIONS, found.length);
  return { tracks: Array.from({ length: count }, (_, n) => found[Math.floor((n * found.length) / count)]), error };
}

function Suggestions() {
  const state = ready.use(), { tracks, error } = useSuggestions();
  if (state && !state.tracks) {
    return html`<section class="suggestions"><h2>The library is empty</h2><p>A song is heard all the same. For songs like it, fill the library first: <code>crossfade embed ~/Music --library …</code></p></section>`;
  }
  if (error) return state && html`<${Problem} error=${error} />`;
  return html`
    <section class="suggestions">
      <h2>Or begin with one of yours</h2>
      <ul class="tiles">
        ${tracks.map(track => html`
          <li key=${track.track_id}><a href=${addressOf(track)}><${Art} track=${track} /><span class="title" dir="auto">${nameOf(track)}</span><span class="sub" dir="auto">${track.artists.join(", ")}</span></a></li>`)}
      </ul>
    </section>`;
}

/** Records ten seconds from the microphone. */
function Recorder() {
  const [recording, setRecording] = useState(null);
  const [left, setLeft] = useState(0);
  const begin = async () => {
    try {
      if (!navigator.mediaDevices || !window.MediaRecorder) throw new DOMException("", "NotSupportedError");
      const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
      const recorder = new MediaRecorder(stream), parts = [];
      recorder.ondataavailable = event => parts.push(event.data);
      recorder.onstop = () => {
        for (const one of stream.getTracks()) one.stop();
        setRecording(null);
        const kind = recorder.mimeType.split(";")[0], ending = kind.includes("mp4") ? "m4a" : kind.includes("ogg") ? "ogg" : "webm";
        const when = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
        take([new File(parts, `Recording ${when}.${ending}`, { type: kind })]);
      };
      recorder.start();
      setLeft(RECORDING_SECONDS);
      setRecording(recorder);
    } catch (error) { say(microphoneProblem(error), true); }
  };
  useEffect(() => {
    if (!recording) return undefined;
    const clock = setInterval(() => setLeft(seconds => seconds - 1), 1000);
    const stop = setTimeout(() => recording.state === "recording" && recording.stop(), RECORDING_SECONDS * 1000);
    return () => { clearInterval(clock); clearTimeout(stop); };
  }, [recording]);
  if (!recording) return html`<button onClick=${begin}><${Icon} name="record" />Record ten seconds</button>`;
  return html`<button class="recording" onClick=${() => recording.stop()}><span class="dot" aria-hidden="true"></span>Recording, ${Math.max(0, left)} s left: stop</button>`;
}

function microphoneProblem({ name }) {
  if (name === "NotAllowedError") return "The microphone is not allowed here. Allow it beside the address above, and press again.";
  if (name === "NotFoundError") return "There is no microphone. Plug one in, and press again.";
  if (name === "NotSupportedError") return "This browser gives a page the microphone over https or on this machine only.";
  return `The microphone could not be opened (${name}).`;
}

export function SongScreen() {
  const state = song.use();
  return state ? html`<${Song} ...${state} />` : html`<${HomeScreen} />`;
}

function Song({ track, file, samples, sent, answer, place, error }) {
  const title = answer?.title || track.title;
  useTitle(title);
  return html`
    <article class="answer">
      <header class="song">
        <${PlayButton} track=${track} />
        <div>
          <h1 tabindex="-1" dir="auto">${title}</h1>
          <p class="sub" role="status">${error ? "not heard" : answer ? html`<bdi>${[...answer.artists, file.name].join(" · ")}</bdi>` : sent < 1 ? `sending ${Math.round(sent * 100)} %` : "being heard …"}</p>
        </div>
        ${answer && html`<${Keep} file=${file} answer=${answer} />`}
      </header>
      ${samples !== null && html`<${Spectrum} samples=${samples} track=${track} />`}
      ${error && html`<${NotHeard} error=${error} file=${file} />`}
      ${!error && html`
        <div class="answer-left">
          <section class="card">${answer ? html`<${Description} heard=${answer.heard} />` : html`<h2>Genres</h2><${Loading} />`}</section>
          ${place && html`<${Landing} place=${place} name=${title} trackId=${answer.track_id} />`}
        </div>
        <section class="card">
          <h2>Most like it</h2>
          ${answer ? html`<${Neighbours} compared=${answer} genres=${answer.heard.genres} />` : html`<${Loading} rows=${10} />`}
        </section>`}
    </article>`;
}

/** A file that is no music will not become any: again is offered for what may pass. */
function NotHeard({ error, file }) {
  const isFile = [413, 415, 422].includes(error.status);
  return isFile
    ? html`<${Problem} error=${{ message: `This file: ${error.message.replace(/^file: /, "")}.` }}><a class="button" href="#/">Drop another song</a><//>`
    : html`<${Problem} error=${error}><button onClick=${() => hear(file)}>Try again</button><//>`;
}

/** Adds the song to the library, or leads to it. */
function Keep({ file, answer }) {
  const [adding, setAdding] = useState(false);
  if (answer.track_id) return html`<a class="button" href=${addressOf(answer)}>In your library</a>`;
  const add = async () => {
    setAdding(true);
    try {
      const added = await upload("v1/tracks", file, {});
      say(added.new ? `${file.name} is a track of the library now.` : `The library has ${file.name} already.`);
      song.update({ answer: { ...answer, track_id: added.track_id } });
      fetchAnew();
    } catch (error) { say(error.message, true); }
    setAdding(false);
  };
  return html`<button disabled=${adding} onClick=${add}><${Icon} name="plus" />${adding ? "Adding …" : "Add to library"}</button>`;
}
