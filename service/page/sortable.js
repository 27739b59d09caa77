// A list of tracks that is put into another order by dragging, or by the arrow keys.
import { html, useRef, useState } from "./html.js";
import { addressOf, Art, minutes, nameOf, PlayButton } from "./parts.js";

const moved = (items, from, to) => {
  const next = [...items];
  next.splice(to, 0, ...next.splice(from, 1));
  return next;
};

/** `onOrder(items)` gets the new order, `onRemove(place)` a track that is to go; `current` is the place of the one that plays. */
export function SortableTracks({ items, label, current = -1, onOrder, onRemove, onPlay, children }) {
  const list = useRef(), [drag, setDrag] = useState(null), [told, tell] = useState("");
  const shown = drag ? moved(items, drag.from, drag.to) : items;
  const begin = (event, from) => {
    event.preventDefault();
    event.target.focus();
    event.target.setPointerCapture(event.pointerId);
    setDrag({ from, to: from });
  };
  const over = event => {
    if (!drag) return;
    const rows = [...list.current.children];
    const place = rows.findIndex(row => { const { top, height } = row.getBoundingClientRect(); return event.clientY < top + height; });
    const to = place < 0 ? rows.length - 1 : place;
    if (to !== drag.to) setDrag({ ...drag, to });
  };
  const end = commit => () => {
    if (!drag) return;
    setDrag(null);
    if (commit && drag.to !== drag.from) put(drag.from, drag.to);
  };
  const put = (from, to) => {
    onOrder(moved(items, from, to));
    tell(`${nameOf(items[from])} is number ${to + 1} of ${items.length} now.`);
  };
  const onKey = (event, from) => {
    const to = { ArrowUp: from - 1, ArrowDown: from + 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined || to < 0 || to >= items.length) return;
    event.preventDefault();
    put(from, to);
    const handles = list.current.querySelectorAll(".handle");
    requestAnimationFrame(() => handles[to]?.focus());
  };
  return html`
    <p class="unseen" role="status">${told}</p>
    <ol class="tracks sortable" ref=${list} aria-label=${label}>
      ${shown.map((track, place) => html`
        <li key=${place} class=${`track${place === current && !drag ? " playing" : ""}${drag?.to === place ? " dragged" : ""}${track.in_library === false ? " gone" : ""}`} data-id=${track.track_id}>
          <button class="icon-button handle" aria-label=${`Move ${nameOf(track)}, number ${place + 1}: arrow up or down`}
            onPointerDown=${event => begin(event, place)} onPointerMove=${over} onPointerUp=${end(true)} onPointerCancel=${end(false)} onKeyDown=${event => onKey(event, place)}>⠿</button>
          ${track.has_audio || track.url ? html`<${PlayButton} track=${track} queue=${items} onPlay=${onPlay && (() => onPlay(place))} />` : track.in_library === false ? html`<span class="art"></span>` : html`<${Art} track=${track} />`}
          <div class="track-text">
            ${track.in_library === false ? html`<bdi class="title">${nameOf(track)}</bdi><span class="sub">not in the library any more</span>` : html`
              <a class="title" href=${track.url ? "#/song" : addressOf(track)} dir="auto">${nameOf(track)}</a>
              <span class="sub" dir="auto">${(track.artists || []).join(", ")}</span>`}
          </div>
          ${track.duration_seconds && html`<span class="time">${minutes(track.duration_seconds)}</span>`}
          <button class="icon-button" aria-label=${`Remove ${nameOf(track)}`} onClick=${() => onRemove(place)}>×</button>
        </li>`)}
    </ol>
    ${children}`;
}
