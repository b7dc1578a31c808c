"""What all tests share: no test is measured by the clock, least of all on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("apwa", deadline=None)
settings.load_profile("apwa")
