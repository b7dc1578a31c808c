"""The capabilities that a run knows by name."""

from __future__ import annotations

from collections.abc import Sequence

from apwa.capabilities.calculator import Calculator
from apwa.capabilities.lookup import Lookup
from apwa.capabilities.modules import UserModule, load_module
from apwa.capabilities.seam import Capability
from apwa.vocabulary import Misuse


class Registry:
    """Capabilities by name. A name is taken once."""

    def __init__(self) -> None:
        self._known: dict[str, Capability] = {}
        self.own: list[str] = []  # names of those that are functions of a user's modules
        self.secrets: set[str] = set()  # environment variables that these read

    @classmethod
    def builtin(cls, modules: Sequence[UserModule] = ()) -> Registry:
        """A registry with the capabilities that come with apwa, and those of a user's modules.

        Raises Misuse for a module that does not load.
        """
        registry = cls()
        registry.add(Calculator())
        registry.add(Lookup())
        for module in modules:
            for function in load_module(module):
                registry.add(function)
                registry.own.append(function.card.name)
                registry.secrets.update(function.secrets)
        return registry

    @property
    def names(self) -> list[str]:
        return sorted(self._known)

    def add(self, capability: Capability) -> None:
        """Raises Misuse if the name is taken."""
        name = capability.card.name
        if name in self._known:
            raise Misuse(f"there are two capabilities called {name}", "capability")
        self._known[name] = capability

    def get(self, name: str) -> Capability:
        """Raises Misuse for a name that nobody has, with the names that there are."""
        if name not in self._known:
            known = ", ".join(self.names) or "none"
            raise Misuse(f"there is no capability {name!r}", "capability", f"There are: {known}.")
        return self._known[name]
