"""How soon a command is there."""

import subprocess
import sys

_SLOW = ("bpe_openai", "genai_prices", "pandas", "pyarrow.dataset", "ray", "rich")


def test_what_takes_long_to_load_is_loaded_where_it_is_used():
    code = f"import sys, apwa.cli.app, apwa.runs; print([n for n in {_SLOW} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
