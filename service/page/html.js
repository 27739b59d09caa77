// Preact and htm, bound together: the one place that names their versions.
import { h } from "./vendor/preact-11.2.0.js";
import htm from "./vendor/htm-3.1.1.js";

export { render } from "./vendor/preact-11.2.0.js";
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact-hooks-11.2.0.js";
export const html = htm.bind(h);
