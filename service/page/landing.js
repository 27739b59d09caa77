// Where a dropped song lands on the map of the library: the whole of it, small.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { useAnswer } from "./api.js";
import { coloured, COLOURINGS, fetchMap } from "./mapdata.js";
import { mapAddress } from "./parts.js";
import { Names, SongMark, usePaint } from "./picture.js";
import { project, WHOLE } from "./scatter.js";

/** `place`: [x, y] of the map by sound, 0 … 1. */
export function Landing({ place, name, trackId }) {
  const { data: map } = useAnswer(signal => fetchMap("sound", signal), []);
  if (!map?.count) return null;
  return html`
    <section class="card landing">
      <h2>Where it lands on your map</h2>
      <a href=${mapAddress(trackId || "")} aria-label="Show it on the map"><${Small} map=${map} place=${place} name=${name} /></a>
    </section>`;
}

function Small({ map, place, name }) {
  const box = useRef(), canvas = useRef(), [size, setSize] = useState(null);
  const colours = useMemo(() => coloured(map, COLOURINGS.genre), [map]), paint = usePaint(box, colours);
  const regions = useMemo(() => map.regions.filter(({ kind }) => kind === "genre"), [map]);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect: { width, height } }]) => setSize({ width: Math.round(width), height: Math.round(height) }));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!size || !paint) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    Object.assign(canvas.current, { width: Math.round(size.width * ratio), height: Math.round(size.height * ratio) });
    map.scatter.draw(canvas.current, WHOLE, size, { classes: colours.of, bright: colours.classes.map(() => true), ...paint });
  }, [map, size, paint]);
  return html`
    <span ref=${box} class="landing-map"><canvas ref=${canvas}></canvas>
      ${size && html`<${Names} regions=${regions} view=${WHOLE} size=${size} />
        <svg class="marks" aria-hidden="true" width=${size.width} height=${size.height}><${SongMark} at=${project(place, WHOLE, size)} name=${name} size=${size} /></svg>`}
    </span>`;
}
