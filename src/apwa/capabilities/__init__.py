"""Named tools that a template may grant its workers, and the registry that knows them.

A worker gets what its template grants and nothing else. Nothing here calls a model, knows a row
that was not handed to it, or reads a file outside the folder that the run was started in; a
user's own functions do as their author says.
"""

from apwa.capabilities.calculator import Calculator
from apwa.capabilities.functions import UserFunction, capability
from apwa.capabilities.lookup import Lookup
from apwa.capabilities.modules import UserModule, load_module, pack_module, write_module
from apwa.capabilities.registry import Registry
from apwa.capabilities.seam import Capability, CapabilityCard, Session, ToolResult

__all__ = [
    "Calculator",
    "Capability",
    "CapabilityCard",
    "Lookup",
    "Registry",
    "Session",
    "ToolResult",
    "UserFunction",
    "UserModule",
    "capability",
    "load_module",
    "pack_module",
    "write_module",
]
