"""For the API reference: doctests in docstrings become code blocks (Markdown would take `>>>` for quotations)."""

from __future__ import annotations

import re
from typing import Any

import griffe


class FenceDoctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            example = r"^>>> .*(?:\n(?!\s*$).+)*"
            obj.docstring.value = re.sub(example, r"```python\n\g<0>\n```", obj.docstring.value, flags=re.MULTILINE)
