// The shell: head, navigation, the screen that the address names, messages, and the player.
import { html, render, useEffect, useRef, useState } from "./html.js";
import { json, useAnswer } from "./api.js";
import { apiKey, connected, epoch, fetchAnew, givenHistory, keyAsked, message, moreOf, ready, theme } from "./store.js";
import { TrackScreen } from "./answer.js";
import { HomeScreen, SongScreen, take } from "./drop.js";
import { searchAddress, SearchBox, SearchScreen } from "./search.js";
import { MapScreen } from "./map.js";
import { YouScreen } from "./you.js";
import { Icon, Loading, Problem } from "./parts.js";
import { Player } from "./player.js";

const MESSAGE_MS = 7000;
const HISTORY = /\.(csv|tsv|jsonl?|parquet|dat|zip|gz|bz2)$/i;
/** `[screen, its name, what a phone leaves out of it, its icon there]` */
const NAVIGATION = [["", "Drop", " a song", "drop"], ["map", "Map", "", "target"], ["you", "For you", "", "heart"], ["room", "Listen", "", "play"], ["playlists", "Playlists", "", "list"], ["library", "Library", "", "file"]];
/** Screens that stay as they are when the rest of the address changes. */
const STAYING = ["search", "map"];

/** `[screen, what]` of the address. */
function place() {
  const [, screen = "", ...rest] = location.hash.split("/");
  try {
    return [screen, decodeURIComponent(rest.join("/"))];
  } catch {
    return ["", ""];
  }
}

/** A screen whose module is fetched when it is first shown. */
function later(load, name) {
  let Screen = null;
  function Later(given) {
    const [, draw] = useState(0), [error, setError] = useState(null);
    const turn = epoch.use();
    useEffect(() => {
      if (Screen) return;
      load().then(module => {
        Screen = module[name];
        setError(null);
        draw(1);
      }, () => setError({ message: "This part of the page could not be fetched; it is tried again when the service is back." }));
    }, [turn]);
    useEffect(() => {
      // Its heading was not there yet when the screen changed.
      if (Screen && document.activeElement === document.body) document.querySelector("main h1")?.focus({ preventScroll: true });
    }, [Screen]);
    if (Screen) return html`<${Screen} ...${given} />`;
    return error ? html`<${Problem} error=${error} />` : html`<${Loading} />`;
  }
  return Later;
}

const LibraryScreen = later(() => import("./library.js"), "LibraryScreen");
const PlaylistsScreen = later(() => import("./playlists.js"), "PlaylistsScreen");
const TrackSheet = later(() => import("./sheet.js"), "TrackSheet");
const RoomScreen = later(() => import("./room.js"), "RoomScreen");

const SCREENS = {
  "": () => html`<${HomeScreen} />`,
  song: () => html`<${SongScreen} />`,
  track: what => html`<${TrackScreen} key=${what} trackId=${what} />`,
  search: what => html`<${SearchScreen} query=${what} />`,
  map: what => html`<${MapScreen} trackId=${what} />`,
  you: () => html`<${YouScreen} />`,
  playlists: what => html`<${PlaylistsScreen} id=${what} />`,
  room: () => html`<${RoomScreen} />`,
  library: () => html`<${LibraryScreen} />`,
};

/** A song is heard; a listening history waits on the library's screen. */
function receive(files) {
  const all = [...files];
  if (!all.length || !all.every(file => HISTORY.test(file.name))) return take(files);
  givenHistory.set(all);
  location.hash = "#/library";
}

function App() {
  const [[screen, what], go] = useState(place());
  const [over, setOver] = useState(false);
  const main = useRef(), first = useRef(true);
  useEffect(() => {
    const moved = () => go(place());
    // Files are dropped anywhere; what is dragged within the page is not one.
    const isFile = event => [...(event.dataTransfer?.types || [])].includes("Files");
    const handlers = {
      hashchange: moved,
      dragover: event => { if (isFile(event)) { event.preventDefault(); setOver(true); } },
      dragleave: event => { if (!event.relatedTarget) setOver(false); },
      paste: event => {
        if (event.target.closest?.("input, textarea")) return;
        const text = event.clipboardData.getData("text").trim();
        if (event.clipboardData.files.length) receive(event.clipboardData.files);
        else if (text) location.hash = searchAddress(text.slice(0, 200));
      },
      drop: event => { if (isFile(event)) { event.preventDefault(); setOver(false); receive(event.dataTransfer.files); } },
    };
    for (const [kind, handler] of Object.entries(handlers)) addEventListener(kind, handler);
    return () => { for (const [kind, handler] of Object.entries(handlers)) removeEventListener(kind, handler); };
  }, []);
  useEffect(() => {
    // Another screen begins at its top and is read from its heading; while somebody types a query, the box keeps the focus.
    if (!first.current && screen !== "search") {
      scrollTo(0, 0);
      main.current.querySelector("h1")?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [screen, STAYING.includes(screen) ? "" : what]);
  const show = SCREENS[screen] || SCREENS[""];
  return html`
    <a class="skip" href="#main" onClick=${event => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header class="head">
      <a class="logo" href="#/"><svg viewBox="0 0 32 32" aria-hidden="true"><path class="warm" d="M2 26C14 26 18 6 30 6" /><path class="cool" d="M2 6C14 6 18 26 30 26" /></svg>Crossfade</a>
      <nav aria-label="Screens">
        ${NAVIGATION.map(([name, title, rest, icon]) => html`<a key=${name} href=${`#/${name}`} aria-current=${(screen === "song" ? "" : screen) === name ? "page" : undefined}><${Icon} name=${icon} /><span>${title}${rest && html`<span class="rest">${rest}</span>`}</span></a>`)}
      </nav>
      <${SearchBox} query=${screen === "search" ? what : ""} />
      <${ThemeButton} />
    </header>
    <${Trouble} />
    <main id="main" ref=${main} tabindex="-1">${show(what)}</main>
    <footer><${State} /> <span>The <a href="docs">API</a> does all of this, too.</span></footer>
    <${Message} />
    <${Sheet} />
    ${screen !== "room" && html`<${Player} />`}
    ${over && html`<div class="drop-over" aria-hidden="true"><p>Drop it anywhere</p></div>`}`;
}

/** Fetched when something is first to be done with a track. */
function Sheet() {
  return moreOf.use() && html`<${TrackSheet} />`;
}

/** What stands between the reader and the service: it is away, or asks for a key. */
function Trouble() {
  const isConnected = connected.use(), why = keyAsked.use(), box = useRef();
  const unlock = event => {
    event.preventDefault();
    apiKey.set(box.current.value.trim());
    keyAsked.set("");
    fetchAnew();
  };
  return html`
    <div role="status">${!isConnected && html`<p class="banner">The service does not answer. This page goes on by itself when it is back.</p>`}</div>
    ${why && html`
      <form class="banner key" onSubmit=${unlock}>
        <label for="key">${why}</label>
        <input ref=${box} id="key" type="password" autocomplete="off" placeholder="cf_…" required />
        <button class="primary">Use it</button>
      </form>`}`;
}

function State() {
  const { data, error } = useAnswer(signal => json("health/ready", null, { signal }), []);
  useEffect(() => { if (data) ready.set(data); }, [data]);
  if (error) return html`<span>${error.message}</span>`;
  return data ? html`<span>${[`${data.tracks.toLocaleString()} tracks`, ...data.notes].join(" · ")}.</span>` : null;
}

function Message() {
  const shown = message.use();
  useEffect(() => {
    if (!shown || shown.wrong) return undefined;
    const clock = setTimeout(() => message.set(null), MESSAGE_MS);
    return () => clearTimeout(clock);
  }, [shown]);
  return html`
    <div class="messages" role="status">
      ${shown && html`<div class=${shown.wrong ? "message wrong" : "message"}><span dir="auto">${shown.text}</span><button aria-label="Dismiss" onClick=${() => message.set(null)}>×</button></div>`}
    </div>`;
}

function ThemeButton() {
  const chosen = theme.use();
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return html`
    <button class="icon-button" aria-label=${dark ? "Light colours" : "Dark colours"} onClick=${() => theme.set(dark ? "light" : "dark")}>
      <${Icon} name=${dark ? "sun" : "moon"} /></button>`;
}

const paint = () => { document.documentElement.dataset.theme = theme.get(); };
theme.set = (set => value => { set(value); paint(); })(theme.set);
paint();
render(html`<${App} />`, document.getElementById("app"));
