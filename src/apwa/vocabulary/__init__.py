"""The words everything else is said in: errors, kinds, identities, work, messages, events.

Plain data. It imports nothing of apwa, does no I/O and reads no clock (but for a run's id).
"""

from apwa.vocabulary.control import (
    Approve,
    Cancel,
    ChangeLimits,
    Command,
    Pause,
    decode_command,
    encode_command,
)
from apwa.vocabulary.errors import (
    ApwaError,
    BadInput,
    JobRefused,
    Locked,
    Misuse,
    Paused,
    PlanError,
    Problem,
    RunFailed,
    is_full,
    named,
)
from apwa.vocabulary.identity import PILOT, RUN, ResultKey, RowKey, new_run_id, reuse_key
from apwa.vocabulary.kinds import ErrorKind, Follow, Scope, Traits
from apwa.vocabulary.usage import NUSD_PER_USD, Caps, Price, Usage
from apwa.vocabulary.work import (
    Attempt,
    Cell,
    ContractSpec,
    Granted,
    LeaseItem,
    Outcome,
    TagSpec,
    Values,
    WorkLimits,
    WorkSpec,
)

__all__ = [
    "NUSD_PER_USD",
    "PILOT",
    "RUN",
    "Approve",
    "ApwaError",
    "Attempt",
    "BadInput",
    "Cancel",
    "Caps",
    "Cell",
    "ChangeLimits",
    "Command",
    "ContractSpec",
    "ErrorKind",
    "Follow",
    "Granted",
    "JobRefused",
    "LeaseItem",
    "Locked",
    "Misuse",
    "Outcome",
    "Pause",
    "Paused",
    "PlanError",
    "Price",
    "Problem",
    "ResultKey",
    "RowKey",
    "RunFailed",
    "Scope",
    "TagSpec",
    "Traits",
    "Usage",
    "Values",
    "WorkLimits",
    "WorkSpec",
    "decode_command",
    "encode_command",
    "is_full",
    "named",
    "new_run_id",
    "reuse_key",
]
