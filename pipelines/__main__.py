"""`python -m crossfade.pipelines` is the `crossfade` command."""

import sys

from .command_line import main

sys.exit(main())
