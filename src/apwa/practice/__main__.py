"""``python -m apwa.practice``."""

import sys

from apwa.practice.serving import main

sys.exit(main())
