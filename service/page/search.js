// Search: the box in the page's head, and its answers.
import { html, useEffect, useRef } from "./html.js";
import { json, useAnswer } from "./api.js";
import { Icon, Loading, Problem, TrackList, TrackRow, useTitle } from "./parts.js";

const PAUSE_MS = 150;
const K = 50;
export const searchAddress = query => `#/search/${encodeURIComponent(query)}`;

export function SearchBox({ query }) {
  const box = useRef(), pause = useRef();
  // The address leads, unless somebody is typing.
  useEffect(() => { if (document.activeElement !== box.current) box.current.value = query; }, [query]);
  useEffect(() => {
    const focus = event => {
      if (event.key !== "/" || event.target.closest?.("input, textarea, select")) return;
      event.preventDefault();
      box.current.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  const go = () => {
    clearTimeout(pause.current);
    const text = box.current.value.trim();
    if (text) location.hash.startsWith("#/search/") ? location.replace(searchAddress(text)) : (location.hash = searchAddress(text));
  };
  return html`
    <form class="search" role="search" onSubmit=${event => { event.preventDefault(); go(); }}>
      <${Icon} name="search" />
      <input ref=${box} type="search" aria-label="Search title, artist or id" placeholder="Search your library" autocomplete="off" spellcheck=${false} maxlength="200"
        onInput=${() => { clearTimeout(pause.current); pause.current = setTimeout(go, PAUSE_MS); }} />
    </form>`;
}

export function SearchScreen({ query }) {
  const { data, error } = useAnswer(signal => json("v1/tracks", { query, k: K }, { signal }), [query]);
  const tracks = data?.tracks;
  useTitle(`${query}: search`);
  const count = tracks && (tracks.length === K ? `the first ${K} tracks` : tracks.length === 1 ? "1 track" : `${tracks.length} tracks`);
  return html`
    <section class="card narrow">
      <h1 class="small" tabindex="-1">Found for “<bdi>${query}</bdi>”</h1>
      <p class="sub" role="status">${error ? "" : tracks ? (tracks.length ? count : "Nothing has all of these words in its title, artists or id.") : "searching …"}</p>
      ${error ? html`<${Problem} error=${error} />` : tracks ? html`
        <${TrackList} tracks=${tracks} label="Found tracks">${tracks.map(track => html`<${TrackRow} key=${track.track_id} track=${track} queue=${tracks} />`)}<//>` : html`<${Loading} />`}
    </section>`;
}
