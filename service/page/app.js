// The shell: head, navigation, the screen that the address names, messages, and the player.
import { html, render, useEffect, useRef, useState } from "./html.js";
import { json, useAnswer } from "./api.js";
import { apiKey, connected, fetchAnew, keyAsked, message, ready, theme } from "./store.js";
import { TrackScreen } from "./answer.js";
import { HomeScreen, SongScreen, take } from "./drop.js";
import { searchAddress, SearchBox, SearchScreen } from "./search.js";
import { YouScreen } from "./you.js";
import { Icon } from "./parts.js";
import { Player } from "./player.js";

const MESSAGE_MS = 7000;

/** `[screen, what]` of the address. */
function place() {
  const [, screen = "", ...rest] = location.hash.split("/");
  try {
    return [screen, decodeURIComponent(rest.join("/"))];
  } catch {
    return ["", ""];
  }
}

const SCREENS = {
  "": () => html`<${HomeScreen} />`,
  song: () => html`<${SongScreen} />`,
  track: what => html`<${TrackScreen} key=${what} trackId=${what} />`,
  search: what => html`<${SearchScreen} query=${what} />`,
  you: () => html`<${YouScreen} />`,
};

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
        if (event.clipboardData.files.length) take(event.clipboardData.files);
        else if (text) location.hash = searchAddress(text.slice(0, 200));
      },
      drop: event => { if (isFile(event)) { event.preventDefault(); setOver(false); take(event.dataTransfer.files); } },
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
  }, [screen, screen === "search" ? "" : what]);
  const show = SCREENS[screen] || SCREENS[""];
  return html`
    <a class="skip" href="#main" onClick=${event => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header class="head">
      <a class="logo" href="#/"><svg viewBox="0 0 32 32" aria-hidden="true"><path class="warm" d="M2 26C14 26 18 6 30 6" /><path class="cool" d="M2 6C14 6 18 26 30 26" /></svg>Crossfade</a>
      <nav aria-label="Screens">
        <a href="#/" aria-current=${["", "song"].includes(screen) ? "page" : undefined}>Drop a song</a>
        <a href="#/you" aria-current=${screen === "you" ? "page" : undefined}>For you</a>
      </nav>
      <${SearchBox} query=${screen === "search" ? what : ""} />
      <${ThemeButton} />
    </header>
    <${Trouble} />
    <main id="main" ref=${main} tabindex="-1">${show(what)}</main>
    <footer><${State} /> <span>The <a href="docs">API</a> does all of this, too.</span></footer>
    <${Message} />
    <${Player} />
    ${over && html`<div class="drop-over" aria-hidden="true"><p>Drop it anywhere</p></div>`}`;
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
