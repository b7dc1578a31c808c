"""Object stores and web addresses as inputs: brings what an address names into the run's directory.

From there it is read like any file. Keys come from the environment, as the stores' own tools expect
them; none of them, and no query of an address, is kept or shown.
"""

from apwa.stores.address import is_address, shown
from apwa.stores.fetching import Fetched, Progress, fetch, remote_stamp

__all__ = ["Fetched", "Progress", "fetch", "is_address", "remote_stamp", "shown"]
