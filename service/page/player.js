// The player: a queue on two decks, so that one track passes into the next; radio that goes on by itself; media keys.
import { html, useEffect, useRef, useState } from "./html.js";
import { mediaUrl, pathOf, post, request } from "./api.js";
import { fading, listener, listensSent, say, store } from "./store.js";
import { addressOf, Art, Icon, minutes, nameOf } from "./parts.js";

/** What is played: `{queue, place, playing, error}`; a track of the queue has a `url` where it is no track of the library. */
export const player = store({ queue: [], place: 0, playing: false, error: "" });
/** Seconds played and in all of the current track. */
export const position = store({ seconds: 0, of: 0 });
/** The radio that goes on behind the queue: `{name, seed, played, skipped, note}`; null for none. */
export const radio = store(null);

const PREVIEW_FROM = 1 / 3;
const LONG_SECONDS = 60;
/** So much before its turn, the next track is fetched. */
const AHEAD_SECONDS = 15;
/** A short track is not all fade. */
const MOST_FADED = 1 / 4;
/** Less of a track is a skip, more of it is a play. */
const HALF = 0.5;
const JUMP_SECONDS = 2;
const RADIO_BATCH = 10, RADIO_AHEAD = 3;
let turn = 0, context = null, nextTimer = 0, listened = 0, before = 0, previewed = false;

/** An audio element, and how loud it is; `track` is what it has or will play. */
class Deck {
  audio = new Audio();
  track = null;
  #gain = null;

  constructor() {
    const on = (name, handler) => this.audio.addEventListener(name, () => this === deck && handler());
    on("play", playing);
    on("pause", playing);
    on("ended", () => step(1, true));
    on("timeupdate", tick);
    on("durationchange", tick);
    this.audio.preload = "auto";
  }

  /** Fetches a track; false where another one has taken its place meanwhile. */
  async load(track) {
    this.stop();
    this.track = track;
    const url = track.url || (await mediaUrl(pathOf("audio", track.track_id)));
    if (this.track !== track) {
      if (!track.url && url.startsWith("blob:")) URL.revokeObjectURL(url);
      return false;
    }
    this.own = !track.url && url.startsWith("blob:");
    this.audio.src = url;
    return true;
  }

  stop() {
    this.track = null;
    this.audio.pause();
    if (this.own) URL.revokeObjectURL(this.audio.src);
    this.own = false;
    this.audio.removeAttribute("src");
    this.fade(1, 0);
  }

  /** Louder or quieter within some seconds, by a quarter of a sine: together two decks keep their power. */
  fade(to, seconds) {
    if (!context) return;
    if (!this.#gain) {
      this.#gain = context.createGain();
      context.createMediaElementSource(this.audio).connect(this.#gain).connect(context.destination);
    }
    const { gain } = this.#gain, now = context.currentTime;
    gain.cancelScheduledValues(0);
    if (seconds <= 0) return gain.setValueAtTime(to, now);
    gain.setValueCurveAtTime(Float32Array.from({ length: 64 }, (_, step) => (to ? Math.sin : Math.cos)((step / 63) * (Math.PI / 2))), now, seconds);
  }
}

const decks = [];
let deck = null;
decks.push(new Deck(), new Deck());
[deck] = decks;
const other = () => decks[deck === decks[0] ? 1 : 0];

export const current = () => player.get().queue[player.get().place];
export const isCurrent = (state, trackId) => state.queue[state.place]?.track_id === trackId;
const playable = track => track.has_audio || track.url;

/** Plays a track of a list, or stops and goes on where it is the one that plays. `preview`: a long one from its strongest excerpt. */
export function toggle(track, queue = [track], { preview = false } = {}) {
  if (isCurrent(player.get(), track.track_id) && deck.audio.src) return pauseOrGoOn();
  const tracks = queue.filter(playable);
  return playQueue(tracks, Math.max(0, tracks.findIndex(one => one.track_id === track.track_id)), { preview });
}

/** Plays a list from one of its tracks on; it takes the queue's place. */
export function playQueue(queue, place = 0, { preview = false } = {}) {
  radio.set(null);
  return start(queue.filter(playable), place, { preview });
}

/** Plays from a point of a file that was dropped. */
export async function playFrom(track, share) {
  if (!isCurrent(player.get(), track.track_id)) await playQueue([track]);
  if (deck.audio.duration) deck.audio.currentTime = share * deck.audio.duration;
}

export const pauseOrGoOn = () => (deck.audio.paused ? deck.audio.play().catch(problem => explain(current(), problem)) : deck.audio.pause());
export const seek = seconds => { deck.audio.currentTime = seconds; };

/** Puts tracks behind the queue, or behind the track that plays. */
export function enqueue(tracks, { next = false } = {}) {
  const { queue, place } = player.get(), more = tracks.filter(playable);
  if (!queue.length) return playQueue(more);
  const at = next ? place + 1 : queue.length;
  player.update({ queue: [...queue.slice(0, at), ...more, ...queue.slice(at)] });
}

/** Another order of the queue, or fewer tracks; what plays goes on. */
export function arrange(queue) {
  const place = queue.indexOf(current());
  if (place >= 0) player.update({ queue, place });
  else if (queue.length) start(queue, Math.min(player.get().place, queue.length - 1), { byItself: true });
  else finish();
}

export const jump = place => start(player.get().queue, place);

function finish() {
  leave(false);
  turn++;
  radio.set(null);
  for (const one of decks) one.stop();
  player.set({ queue: [], place: 0, playing: false, error: "" });
}

async function start(queue, place, { preview = false, fade = 0, byItself = false } = {}) {
  const mine = ++turn, track = queue[place];
  if (!track) return;
  leave(false);
  clearTimeout(nextTimer);
  wake();
  const ready = other().track === track && other().audio.src, ending = deck;
  if (ready) deck = other();
  else if (fade) deck = other();
  player.set({ queue, place, playing: fade > 0, error: "" });
  position.set({ seconds: 0, of: 0 });
  [listened, before, previewed] = [0, 0, preview];
  if (ending !== deck) {
    if (fade) {
      ending.fade(0, fade);
      setTimeout(() => { if (ending !== deck) ending.stop(); }, fade * 1000);
    } else ending.stop();
  }
  try {
    if (!ready && !(await deck.load(track))) return;
    if (mine !== turn) return;
    deck.fade(1, fade);
    if (preview) {
      deck.audio.addEventListener("loadedmetadata", () => {
        const { audio } = deck;
        if (audio.duration > LONG_SECONDS && mine === turn) audio.currentTime = track.strongest_seconds ?? PREVIEW_FROM * audio.duration;
      }, { once: true });
    }
    describe(track);
    await deck.audio.play();
    goOnByRadio();
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    await explain(track, error);
    if (byItself && mine === turn && queue[place + 1]) {
      // Nobody clicked this one: the music goes on without it.
      say(`${nameOf(track)}: ${player.get().error}`, true);
      start(queue, place + 1, { byItself });
    }
  }
}

/** The sound's graph, which a browser starts only after a click. */
function wake() {
  try {
    context ||= new AudioContext();
    if (context.state !== "running") context.resume();
  } catch { /* without it, tracks follow one another without a fade */ }
}

/** The element says nothing about why it cannot play: the service does. */
async function explain(track, error) {
  let text = error.message;
  if (!track.url && error.name === "NotSupportedError") {
    text = "this browser cannot play its format";
    try { await request(pathOf("audio", track.track_id), { headers: { Range: "bytes=0-0" } }); } catch (problem) { text = problem.message; }
  } else if (error.name === "NotAllowedError") text = "press play: the browser waits for that";
  player.update({ playing: false, error: text });
}

function playing() {
  player.update({ playing: !deck.audio.paused });
  if ("mediaSession" in navigator) navigator.mediaSession.playbackState = deck.audio.paused ? "paused" : "playing";
}

function tick() {
  const { currentTime: seconds, duration } = deck.audio, of = Number.isFinite(duration) ? duration : 0;
  if (seconds > before && seconds - before < JUMP_SECONDS) listened += seconds - before;
  before = seconds;
  position.set({ seconds, of });
  const { queue, place } = player.get(), next = queue[place + 1];
  if (!of || !next || deck.audio.paused) return;
  const left = of - seconds, fade = Math.min(fading.seconds(), of * MOST_FADED);
  if (left > fade + AHEAD_SECONDS) return;
  // By its identity, not its id: a queue may hold a track twice.
  if (other().track !== next) other().load(next).catch(() => {});
  clearTimeout(nextTimer);
  if (left < fade + 1) {
    const mine = turn;
    nextTimer = setTimeout(() => { if (mine === turn && !deck.audio.paused) step(1, true, fade); }, Math.max(0, (left - fade) * 1000));
  }
}

/** To the next track or back; `ended`: by itself. */
export function step(by, ended = false, fade = 0) {
  const { queue, place } = player.get();
  if (ended) heard(true);
  else if (by > 0) skipped();
  const now = player.get().queue;
  if (now[place + by]) start(now, place + by, { fade, byItself: ended });
  else if (ended && queue.length) leave(true);
}

/** The track that plays is left: what was heard of it counts for the listener. */
function leave(ended) {
  const track = current(), who = listener.get(), of = position.get().of;
  const share = ended ? 1 : of ? Math.min(1, listened / of) : 0;
  // A preview that was left is no dislike.
  if (track && !track.url && who && listened > 1 && (share >= HALF || !previewed)) {
    post("v1/events", { events: [{ user_id: who, track_id: track.track_id, played_ratio: Math.round(share * 100) / 100 }] })
      .then(() => listensSent.set(listensSent.get() + 1), () => {});
  }
  listened = 0;
}

// Radio

/** Plays what goes on from a seed, `{track_ids}`, `{artist}` or `{text}`, without end. */
export async function startRadio(name, seed) {
  const began = { name, seed, played: [], skipped: [], note: "" };
  try {
    const tracks = await ask(began, []);
    const first = seed.first && playable(seed.first) ? [seed.first] : [];
    if (!tracks.length && !first.length) return say("Nothing here can be played that is like it.", true);
    radio.set(began);
    return await start([...first, ...tracks], 0);
  } catch (error) {
    return say(error.message, true);
  }
}

async function ask({ seed, played, skipped }, queue) {
  const { first, ...wanted } = seed;
  const query = { ...wanted, played: played.slice(-200), skipped: skipped.slice(-200), exclude: queue.slice(-800).map(one => one.track_id), k: RADIO_BATCH };
  return (await post("v1/radio", query)).tracks;
}

function heard(ended) {
  const track = current(), state = radio.get();
  if (state && track && (ended || position.get().seconds > HALF * position.get().of)) radio.update({ played: [...state.played, track.track_id] });
}

/** What was skipped early moves the radio away from it: what it had queued is chosen anew. */
function skipped() {
  const track = current(), state = radio.get(), { queue, place } = player.get();
  if (!state || !track) return;
  if (position.get().seconds > HALF * position.get().of) return heard(false);
  radio.update({ skipped: [...state.skipped, track.track_id], note: `further from ${nameOf(track)}` });
  player.update({ queue: queue.slice(0, place + 2) });
}

async function goOnByRadio() {
  const state = radio.get(), { queue, place } = player.get();
  if (!state || queue.length - place > RADIO_AHEAD) return;
  try {
    const more = await ask(state, queue);
    // Meanwhile another radio may have begun.
    if (radio.get()?.seed === state.seed) player.update({ queue: [...player.get().queue, ...more] });
  } catch (error) { say(error.message, true); }
}

export const stopRadio = () => radio.set(null);

// Media keys

function describe(track) {
  if (!("mediaSession" in navigator)) return;
  const artwork = track.url ? [] : [{ src: new URL(pathOf("covers", track.track_id), location.href).href }];
  navigator.mediaSession.metadata = new MediaMetadata({ title: nameOf(track), artist: (track.artists || []).join(", "), artwork });
}

if ("mediaSession" in navigator) {
  const handlers = {
    play: () => deck.audio.play(), pause: () => deck.audio.pause(), nexttrack: () => step(1), previoustrack: () => step(-1),
    seekto: event => seek(event.seekTime),
  };
  for (const [name, handler] of Object.entries(handlers)) navigator.mediaSession.setActionHandler(name, handler);
}
addEventListener("keydown", event => {
  const busy = event.target.closest?.("button, input, a, textarea, select, summary");
  if (event.key === " " && !busy && current()) {
    event.preventDefault();
    pauseOrGoOn();
  }
});

export function Player() {
  const { queue, place, error } = player.use(), on = radio.use();
  const track = queue[place];
  if (!track) return null;
  return html`
    <section class="player" aria-label="Player">
      <${Art} track=${track} />
      <div class="player-text">
        <a class="title" href=${track.url ? "#/song" : addressOf(track)} dir="auto">${nameOf(track)}</a>
        <span class=${error ? "sub wrong" : "sub"} dir="auto" role="status">${error || (track.artists || []).join(", ")}</span>
      </div>
      <${Buttons} />
      <${Seek} />
      <div class="player-more">
        ${!track.url && html`<button class=${on ? "on" : ""} aria-pressed=${Boolean(on)} title="Goes on with what is like it, without end"
          onClick=${() => (on ? stopRadio() : goOnFrom(track))}>Radio</button>`}
        <button onClick=${() => { location.hash = "#/room"; }}>Queue</button>
      </div>
    </section>`;
}

/** The track plays on, and what is like it follows. */
function goOnFrom(track) {
  const { queue, place } = player.get();
  radio.set({ name: nameOf(track), seed: { track_ids: [track.track_id] }, played: [], skipped: [], note: "" });
  player.update({ queue: queue.slice(0, place + 1) });
  return goOnByRadio();
}

export function Buttons() {
  const { queue, place, playing: isPlaying } = player.use();
  return html`
    <div class="player-buttons">
      <button class="icon-button" aria-label="Previous" disabled=${!queue[place - 1]} onClick=${() => step(-1)}><${Icon} name="previous" /></button>
      <button class="icon-button big" aria-label=${isPlaying ? "Pause" : "Play"} onClick=${pauseOrGoOn}><${Icon} name=${isPlaying ? "pause" : "play"} /></button>
      <button class="icon-button" aria-label="Next" disabled=${!queue[place + 1]} onClick=${() => step(1)}><${Icon} name="next" /></button>
    </div>`;
}

export function Seek() {
  const { seconds, of } = position.use();
  const [held, hold] = useState(null);
  const bar = useRef();
  const shown = held ?? seconds;
  useEffect(() => bar.current?.style.setProperty("--done", `${of ? (100 * shown) / of : 0}%`), [shown, of]);
  return html`
    <div class="seek">
      <span class="time">${minutes(shown)}</span>
      <input ref=${bar} type="range" min="0" max=${Math.max(of, 0.01)} step="0.1" value=${shown} aria-label="Position"
        aria-valuetext=${`${minutes(shown)} of ${minutes(of)}`}
        onInput=${event => hold(Number(event.target.value))}
        onChange=${event => { seek(Number(event.target.value)); hold(null); }} />
      <span class="time">${minutes(of)}</span>
    </div>`;
}
