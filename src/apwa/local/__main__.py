"""``python -m apwa.local``."""

import sys

from apwa.local import main

sys.exit(main())
