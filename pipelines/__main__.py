"""`python -m crossfade.pipelines` is the `crossfade` command."""

import sys

from .commands.main import main

sys.exit(main())
